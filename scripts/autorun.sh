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

# A snakemake that was killed leaves jobs and a lock behind. One that lives is none of our business: this tick does
# nothing.
scripts/unlock.sh "$@" || { status=$?; [ "$status" = 75 ] && exit 0; exit "$status"; }

snakemake scan_plates "$@" --forcerun scan_plates --quiet host progress reason rules
# Only times and inputs make a plate stale: an edited function must not run a thousand plates again.
failed=0
snakemake plates "$@" --rerun-triggers mtime input --rerun-incomplete --keep-going || failed=$?
snakemake overview "$@" --rerun-triggers mtime input --rerun-incomplete || failed=$?
exit "$failed"
