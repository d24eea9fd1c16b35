#!/bin/bash
# A real Slurm on one machine, for tests: each node is a namespace of its own, everything lies below
# one private folder and goes with it. No systemd, no control groups, no accounting database.
#
#   mini-slurm.sh start [N]          N nodes n1 ... nN (4), idle when this returns
#   mini-slurm.sh env                what clients need: eval "$(mini-slurm.sh env)"
#   mini-slurm.sh crash NODE         power failure: the node's daemon, steps and ranks are gone
#   mini-slurm.sh boot NODE          switches a crashed node on again
#   mini-slurm.sh crash-controller   ends slurmctld at once
#   mini-slurm.sh boot-controller    starts it again, with what it had written down
#   mini-slurm.sh stop               ends all of it, and only what it has started
#
# Needs root and the Debian packages slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge.
# MINI_SLURM_DIR is the folder (default: below TMPDIR), MINI_SLURM_PORT the first of 1000 ports,
# MINI_SLURM_CPUS the CPUs of a node (2).
set -u
folder=${MINI_SLURM_DIR:-${TMPDIR:-/tmp}/mini-slurm.$UID}
port=${MINI_SLURM_PORT:-17000}
cpus=${MINI_SLURM_CPUS:-2}
export SLURM_CONF=$folder/slurm.conf

die() {
  printf 'mini-slurm: %s\n' "$*" >&2
  tail -n 3 "$folder"/log/{munged,slurmctld,n1} >&2 2> /dev/null
  exit 1
}

# --- processes: known by pid and start time, so that nobody else's is ever ended ---------------

birth() { # PID: its start time in clock ticks; fails if it is gone or a zombie
  local stat
  stat=$(cat "/proc/$1/stat" 2> /dev/null) || return 1
  read -ra stat <<< "${stat##*) }"
  [ "${stat[0]}" != Z ] && printf '%s\n' "${stat[19]}"
}
note() { printf '%s %s\n' "$2" "$(birth "$2")" > "$folder/processes/$1"; } # NAME PID
pid_of() {                                                                  # NAME: if it is alive
  local pid born
  read -r pid born 2> /dev/null < "$folder/processes/$1" || return 1
  [ -n "$born" ] && [ "$(birth "$pid")" = "$born" ] && printf '%s\n' "$pid"
}
end() { # NAME SIGNAL: ends it, by force if it is not gone within five seconds
  local pid signal=$2 tries
  for signal in "$2" KILL; do
    pid=$(pid_of "$1") || break
    kill "-$signal" "$pid" 2> /dev/null
    for ((tries = 0; tries < 50; tries++)); do
      pid_of "$1" > /dev/null || break
      sleep 0.1
    done
  done
  rm -f "$folder/processes/$1"
}
wait_for() { # TENTHS COMMAND...
  local tries
  for ((tries = 0; tries < $1; tries++)); do
    "${@:2}" && return 0
    sleep 0.1
  done
  return 1
}

# --- the cluster ---------------------------------------------------------------------------------

nodes() { seq -f 'n%g' 1 "$(cat "$folder/nodes")"; }

write_config() { # N
  local i
  cat > "$SLURM_CONF" << END
ClusterName=mini
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
SlurmctldPort=$((port + 1))
SrunPortRange=$((port + 100))-$((port + 999))
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
TmpFS=$folder/tmp/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/completed-jobs
MpiDefault=pmix
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=12
MessageTimeout=20
BatchStartTimeout=60
InactiveLimit=0
KillWait=3
WaitTime=5
MinJobAge=3600
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
END
  for ((i = 1; i <= $1; i++)); do
    printf 'NodeName=n%d NodeHostname=n%d NodeAddr=127.0.0.1 Port=%d CPUs=%d RealMemory=2000 State=UNKNOWN\n' \
      "$i" "$i" $((port + 10 + i)) "$cpus"
  done >> "$SLURM_CONF"
  cat >> "$SLURM_CONF" << END
PartitionName=batch Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=60 GraceTime=5 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP
END
  printf 'CgroupPlugin=cgroup/v1\n' > "$folder/cgroup.conf"
}

# Process 1 of the node's namespace outlives the daemon's restarts; when it is killed the kernel ends
# everything in the node, ranks included.
boot() { # NODE
  rm -rf "$folder/spool/$1" # what a crash has left there gets in the way of the same job's next start
  mkdir -p "$folder/spool/$1" "$folder/tmp/$1"
  # shellcheck disable=SC2016 # the inner shell expands it
  setsid unshare --fork --kill-child --pid --mount --uts --mount-proc bash -c '
    hostname "$1"
    mount -t tmpfs -o size=1g tmpfs /dev/shm
    trap "" TERM HUP INT
    slurmd -D -N "$1" &
    while :; do wait; sleep 0.2; done' node "$1" < /dev/null >> "$folder/log/$1.out" 2>&1 &
  note "$1" $!
}

boot_controller() {
  setsid slurmctld -D < /dev/null >> "$folder/log/slurmctld.out" 2>&1 &
  note slurmctld $!
  wait_for 100 controller_up || die "slurmctld does not start, see $folder/log"
}

all_idle() { [ "$(sinfo -h -N -p batch -t idle -o %N 2> /dev/null | wc -l)" = "$1" ]; }
controller_up() { [[ $(scontrol ping 2> /dev/null) == *"is UP"* ]]; }

start() { # N
  local program node
  [ "$UID" = 0 ] || die "namespaces and slurmd need root"
  for program in munged slurmctld slurmd srun unshare; do
    command -v "$program" > /dev/null || die "there is no $program; see the packages in its first lines"
  done
  [ ! -e "$folder/nodes" ] || die "runs already in $folder"
  mkdir -p "$folder"/{munge,state,spool,log,processes}
  chmod 755 "$folder" "$folder/munge"
  printf '%d\n' "$1" > "$folder/nodes"
  (umask 077 && head -c 1024 /dev/urandom > "$folder/munge/key")
  write_config "$1"
  setsid munged --foreground --socket="$folder/munge/socket" --key-file="$folder/munge/key" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" \
    < /dev/null > "$folder/log/munged" 2>&1 &
  note munged $!
  wait_for 50 test -S "$folder/munge/socket" || die "munged does not start, see $folder/log/munged"
  boot_controller
  for node in $(nodes); do boot "$node"; done
  wait_for 300 all_idle "$1" || die "the nodes are not idle after 30 s, see $folder/log"
}

stop() {
  local node
  [ -e "$folder/nodes" ] || return 0
  if pid_of slurmctld > /dev/null; then
    scancel --state=PENDING 2> /dev/null
    scancel -u root 2> /dev/null
    wait_for 50 queue_empty
  fi
  end slurmctld TERM
  for node in $(nodes); do end "$node" KILL; done
  end munged TERM
  rm -rf "$folder"
}
queue_empty() { [ -z "$(squeue -h 2> /dev/null)" ]; }

case ${1:-} in
  start) start "${2:-4}" ;;
  env)
    printf 'export SLURM_CONF=%q OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n' "$SLURM_CONF"
    printf 'export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo\n'
    printf 'export OMPI_MCA_pml=ob1 OMPI_MCA_mpi_yield_when_idle=1\n'
    ;;
  crash) end "$2" KILL ;;
  crash-controller) end slurmctld KILL ;;
  boot-controller) pid_of slurmctld > /dev/null || boot_controller ;;
  boot) pid_of "$2" > /dev/null || boot "$2" ;;
  stop) stop ;;
  *)
    sed -n '2,16s/^# \{0,1\}//p' "$0"
    exit 64
    ;;
esac
