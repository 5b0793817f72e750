#!/usr/bin/env bash
# Look for new plates and process those that are complete: one tick of a crontab, scrontab or systemd timer.
#
#   scripts/autorun.sh --configfile my_lab.yaml [--workflow-profile profiles/slurm] [further options of snakemake]
#
# It works in its checkout, wherever it is called; a configuration file is looked for where it is called first. Three
# calls of snakemake: a plate that a scan finds is not known to the call that scans, and the plates are compared when
# those that could be finished are. The last line says how many plates are done, failed, waiting and excluded. A second
# tick that starts while one still runs ends at once. A tick with nothing new starts no job.
set -euo pipefail

options=() in_files=
for option in "$@"; do
  case $option in
    --configfile | --configfiles) in_files=yes ;;
    --configfile=* | --configfiles=*)
      file=${option#*=}
      [ -e "$file" ] && option=${option%%=*}=$(readlink -f "$file")
      ;;
    -*) in_files= ;;
    *) [ -z "$in_files" ] || [ ! -e "$option" ] || option=$(readlink -f "$option") ;;
  esac
  options+=("$option")
done

cd "$(dirname "$(readlink -f "$0")")/.."

export PATH="$PWD/.venv/bin:$PATH"

exec 9>.autorun.lock
if ! flock --nonblock 9; then
  echo "another tick is still running"
  exit 0
fi

# A snakemake that was killed leaves jobs and a lock behind. One that lives, here or on another host, is none of our business:
# this tick says whose it is, and does nothing.
scripts/unlock.sh "${options[@]}" || { status=$?; [ "$status" = 75 ] && exit 0; exit "$status"; }

snakemake scan_plates "${options[@]}" --forcerun scan_plates --quiet host progress reason rules
# Only times and inputs make a plate stale: an edited function must not run a thousand plates again.
failed=0
snakemake plates "${options[@]}" --rerun-triggers mtime input --rerun-incomplete --keep-going || failed=$?
snakemake overview "${options[@]}" --rerun-triggers mtime input --rerun-incomplete || failed=$?
PYTHONPATH="$PWD" python scripts/tell_plates.py "${options[@]}" || failed=$?
exit "$failed"
