#!/usr/bin/env bash
# Stop the cluster of start_slurm.sh and delete its folder:    stop_slurm.sh FOLDER
set -uo pipefail

folder=$(realpath -m "${1:?FOLDER is missing}")

# Whether a process works; one that ended and that nobody waits for (a zombie) does not.
works() { grep -qs '^State:.[^ZX]' "/proc/$1/status"; }

if [ -s "$folder/run/slurmctld.pid" ]; then
  scancel -u "$(id -un)" 2>/dev/null
  for _ in $(seq 100); do
    [ -z "$(squeue -h 2>/dev/null)" ] && break
    sleep 0.1
  done
fi
for file in "$folder"/run/slurmd-*.pid "$folder"/run/{slurmctld,slurmdbd,mysql,munged}.pid; do
  [ -s "$file" ] || continue
  process=$(cat "$file")
  kill "$process" 2>/dev/null
  for _ in $(seq 600); do
    works "$process" || continue 2
    sleep 0.1
  done
  kill -KILL "$process" 2>/dev/null # or it would keep its port from the next cluster
done
for name in slurm gres cgroup; do
  case $(readlink "/etc/slurm/$name.conf") in
    "$folder"/*) rm "/etc/slurm/$name.conf" ;;
  esac
done
rm -rf "$folder"
