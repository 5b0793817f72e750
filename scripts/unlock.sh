#!/usr/bin/env bash
# After snakemake was killed: cancel the jobs that it left in SLURM's queue, and take away its lock.
#
#   scripts/unlock.sh [the options that snakemake was called with, such as --configfile or --workflow-profile]
#
# What the jobs have done is kept: data sets, trainings and plates go on from where they stood. Call it where snakemake
# was called; it does nothing, with exit status 75, while a snakemake works there, on whatever host and whosever.
set -euo pipefail
root=$(dirname "$(readlink -f "$0")")/..
export PATH="$root/.venv/bin:$PATH"
PYTHONPATH="$root" exec python "$root/scripts/clear_left_behind.py" "$@"
