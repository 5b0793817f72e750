#!/usr/bin/env bash
# Start a throw-away SLURM cluster on this machine: four nodes, their processes bound to 127.0.0.1.
#
#   start_slurm.sh FOLDER [--no-accounting]       stop it with stop_slurm.sh FOLDER
#
# Everything but the links in /etc/slurm lies in FOLDER. Needs root and the Debian packages slurm-wlm, slurmdbd,
# slurm-client, munge and mariadb-server; no systemd. Nodes: c1 (8 CPUs), g1 and g2 (4 CPUs and 2 GPUs that are none), and
# d1 (4 CPUs), which tests may kill: no other's job gets there. Partitions of the first three: cpu (default), gpu, and
# scavenge, whose jobs are preempted by those of the others, and requeued; of c1 and d1: doomed.
set -euo pipefail

folder=$(realpath -m "${1:?FOLDER is missing}")
accounting=yes
[ "${2:-}" = --no-accounting ] && accounting=no
host=$(hostname -s)

fail() {
  echo "start_slurm.sh: $1" >&2
  exit 1
}

# Repeat a command until it succeeds, at most two minutes: the machine may be busy.
await() {
  local end=$((SECONDS + 120))
  while [ "$SECONDS" -lt "$end" ]; do
    if eval "$1" &>/dev/null; then return; fi
    sleep 0.1
  done
  fail "timed out: $1; see $folder/log"
}

# Snakemake's jobs look for the configuration in /etc/slurm alone. That of another cluster is never replaced, unless it
# is a link that a cluster of this script left behind.
mkdir -p /etc/slurm
for name in slurm gres cgroup; do
  file=/etc/slurm/$name.conf
  if [ -e "$file" ] && [ ! -L "$file" ]; then fail "$file exists: this machine has a SLURM of its own"; fi
  [ -L "$file" ] || continue
  target=$(readlink "$file")
  other=${target%/etc/*}
  if [ "$other" != "$folder" ] && grep -qs slurmctld "/proc/$(cat "$other/run/slurmctld.pid" 2>/dev/null)/comm"; then
    fail "$file belongs to the cluster of $other, which is running: stop it first (stop_slurm.sh $other)"
  fi
done

mkdir -p "$folder"/{etc,log,run,state,gpu,mysql,spool/{c1,d1,g1,g2}}

# Authentication of messages between the parts of SLURM.
if ! munge -n &>/dev/null; then
  install -d -o munge -g munge -m 755 /run/munge
  setpriv --reuid=munge --regid=munge --clear-groups munged
  await 'munge -n'
  cp /run/munge/munged.pid "$folder/run/munged.pid" # ours to stop
fi

# Accounting: a database and its daemon, on ports of their own.
if [ "$accounting" = yes ]; then
  chown mysql: "$folder/mysql" "$folder/run"
  socket=$folder/run/mysql.sock
  if [ ! -d "$folder/mysql/mysql" ]; then
    mariadb-install-db --no-defaults --user=mysql --datadir="$folder/mysql" --skip-test-db \
      --auth-root-authentication-method=normal &>"$folder/log/install.log"
  fi
  setsid mariadbd --no-defaults --user=mysql --datadir="$folder/mysql" --socket="$socket" \
    --pid-file="$folder/run/mysql.pid" --bind-address=127.0.0.1 --port=13306 --innodb-buffer-pool-size=64M \
    --log-error="$folder/log/mysql.log" </dev/null &>/dev/null &
  await "mariadb-admin --no-defaults -uroot -S $socket ping"
  for from in 127.0.0.1 localhost; do
    mariadb --no-defaults -uroot -S "$socket" -e "
      CREATE DATABASE IF NOT EXISTS slurm_acct_db;
      CREATE USER IF NOT EXISTS slurm@'$from' IDENTIFIED BY 'slurm';
      GRANT ALL ON slurm_acct_db.* TO slurm@'$from'"
  done
  (
    umask 077 # slurmdbd refuses a configuration that others may read
    cat >"$folder/etc/slurmdbd.conf" <<END
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
AuthType=auth/munge
LogFile=$folder/log/slurmdbd.log
PidFile=$folder/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=13306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
END
  )
  storage="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment"
else
  storage="AccountingStorageType=accounting_storage/none"
fi

# Where control groups can be made, the kernel ends a job that takes more memory than it asked for. Otherwise SLURM
# looks once a second.
if mkdir /sys/fs/cgroup/memory/slurm-probe 2>/dev/null; then
  rmdir /sys/fs/cgroup/memory/slurm-probe
  control="ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/cgroup"
  printf '%s\n' CgroupAutomount=no CgroupPlugin=cgroup/v1 ConstrainRAMSpace=yes >"$folder/etc/cgroup.conf"
else
  control="ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill"
  echo CgroupAutomount=no >"$folder/etc/cgroup.conf"
fi

# GPUs that are none: SLURM counts them and sets CUDA_VISIBLE_DEVICES.
for node in g1 g2; do
  for gpu in 0 1; do
    [ -e "$folder/gpu/$node-$gpu" ] || mknod "$folder/gpu/$node-$gpu" c 1 3
  done
  echo "NodeName=$node Name=gpu Type=a100 File=$folder/gpu/$node-[0-1]"
done >"$folder/etc/gres.conf"

cat >"$folder/etc/slurm.conf" <<END
ClusterName=testcluster
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
MpiDefault=none
$control
$storage
JobAcctGatherFrequency=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SchedulerParameters=sched_interval=2,bf_interval=5,batch_sched_delay=0
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=3
# Tests look at jobs that ended long ago.
MinJobAge=3600
ReturnToService=2
# Nothing is lost because the machine is busy. (A test that wants a node to die says so: state=down.)
SlurmdTimeout=300
MessageTimeout=60
BatchStartTimeout=300
UnkillableStepTimeout=300
TCPTimeout=30
SlurmdParameters=config_overrides
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
NodeName=g[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=4 RealMemory=400000 Gres=gpu:a100:2
NodeName=c1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17003 CPUs=8 RealMemory=400000
NodeName=d1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17004 CPUs=4 RealMemory=400000
PartitionName=cpu Nodes=c1,g[1-2] Default=YES DefaultTime=10 PriorityTier=10
PartitionName=gpu Nodes=g[1-2] DefaultTime=10 PriorityTier=10
PartitionName=scavenge Nodes=c1,g[1-2] DefaultTime=10 PriorityTier=1
PartitionName=doomed Nodes=c1,d1 DefaultTime=10 PriorityTier=10
END
for name in slurm gres cgroup; do ln -sfn "$folder/etc/$name.conf" "/etc/slurm/$name.conf"; done

if [ "$accounting" = yes ]; then
  SLURM_CONF="$folder/etc/slurmdbd.conf" slurmdbd
  await 'sacctmgr -n show cluster'
  sacctmgr -i add cluster testcluster &>/dev/null || true
fi
slurmctld
await 'scontrol ping | grep -q UP'
for node in c1 d1 g1 g2; do slurmd -N "$node"; done
if [ "$accounting" = yes ]; then
  sacctmgr -i add account test &>/dev/null || true
  sacctmgr -i add user root account=test &>/dev/null || true
fi
await '[ "$(sinfo -h -N -t idle -o %N | sort -u | wc -l)" = 4 ]'
