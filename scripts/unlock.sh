#!/usr/bin/env bash
# After snakemake was killed: cancel the jobs that it left in SLURM's queue, and take away its lock.
#
#   scripts/unlock.sh [the options that snakemake was called with, such as --configfile or --workflow-profile]
#
# What the jobs have done is kept: data sets, trainings and plates go on from where they stood. Call it where snakemake
# was called; it does nothing, with exit status 75, while a snakemake works there that is no job.
set -euo pipefail
root=$(dirname "$(readlink -f "$0")")/..
export PATH="$root/.venv/bin:$PATH"

# Whether a process is a snakemake that works in this folder. Its program tells, not its text: where this machine is a
# node too, there are also the shells, the srun and the scripts of jobs, which name snakemake, and the snakemake inside
# a job (`--target-jobs`).
is_controller() {
  local program
  { IFS= read -r -d '' program <"/proc/$1/cmdline"; } 2>/dev/null || return 1
  [[ ${program##*/} = python* && $(readlink "/proc/$1/cwd") = "$PWD" ]] || return 1
  # `python -m snakemake`, or `python .../bin/snakemake`
  grep -Eqsz '(^|/)snakemake$' "/proc/$1/cmdline" && ! grep -qszx -e --target-jobs "/proc/$1/cmdline"
}

for process in $(pgrep -u "$(id -u)" -f '[s]nakemake' || true); do
  if is_controller "$process"; then
    echo "snakemake (process $process) is running in this folder: nothing is done" >&2
    exit 75
  fi
done

# Jobs are named by the prefix of profiles/slurm and their run; %Z is the folder that they were submitted from.
left_behind() {
  squeue --noheader --user "$(id -un)" --format '%i|%j|%Z' | awk -F '|' -v folder="$PWD" \
    '$2 ~ /^equinuclei_[0-9a-f-]+$/ && $3 == folder { print $1 }'
}

locked=$(find .snakemake/locks -type f 2>/dev/null | head -n 1) || true  # there may be no such folder

# Where the programs of SLURM are but no cluster answers, there are no jobs to be seen.
if command -v squeue >/dev/null; then
  if ! jobs=$(left_behind 2>/dev/null); then
    [ -z "$locked" ] || echo "squeue does not answer: jobs that are left behind, if any, go on" >&2
  elif [ -n "$jobs" ]; then
    echo "cancelling jobs that a killed snakemake left behind:" $jobs >&2
    scancel $jobs
    while [ -n "$(left_behind)" ]; do sleep 1; done
  fi
fi

# Jobs may be left without a lock: another snakemake that ended here since has taken away every lock, not only its own.
if [ -n "$locked" ]; then
  snakemake --snakefile "$root/Snakefile" "$@" --unlock --quiet all >/dev/null
fi
