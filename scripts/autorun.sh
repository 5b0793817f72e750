#!/usr/bin/env bash
# Look for new plates and process those that are complete: one tick of a crontab, scrontab or systemd timer.
#
#   scripts/autorun.sh --configfile my_lab.yaml [--workflow-profile profiles/slurm] [further options of snakemake]
#
# Three calls of snakemake: a plate that a scan finds is not known to the call that scans, and the plates are compared
# when those that could be finished are. A second tick that starts while one still runs ends at once. A tick with
# nothing new starts no job.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

export PATH="$PWD/.venv/bin:$PATH"

exec 9>.autorun.lock
if ! flock --nonblock 9; then
  echo "another tick is still running"
  exit 0
fi

# A snakemake that was killed leaves its lock behind. It is taken away only if no other snakemake of this machine works
# in this folder.
unlock() {
  local pid
  for pid in $(pgrep -u "$(id -u)" -f '[s]nakemake' || true); do
    if [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$PWD" ]; then
      echo "snakemake (process $pid) is running in this folder: this tick does nothing" >&2
      exit 0
    fi
  done
  snakemake "$@" --unlock --quiet all >/dev/null
}

if [ -n "$(find .snakemake/locks -type f 2>/dev/null | head -n 1)" ]; then
  unlock "$@"
fi

snakemake scan_plates "$@" --forcerun scan_plates --quiet host progress reason rules
# Only times and inputs make a plate stale: an edited function must not run a thousand plates again.
failed=0
snakemake plates "$@" --rerun-triggers mtime input --rerun-incomplete --keep-going || failed=$?
snakemake overview "$@" --rerun-triggers mtime input --rerun-incomplete || failed=$?
exit "$failed"
