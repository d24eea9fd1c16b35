#!/bin/bash
# Several hosts on one machine, for tests of MPI over TCP: each is a network, process, name and mount
# namespace of its own, and a bridge joins them. They have no Slurm; see mini-slurm.sh for that.
#
#   test-hosts.sh up [N]             hosts h1 ... hN (4), of two slots each, and a head host h0
#   test-hosts.sh run COMMAND...     runs COMMAND on h0
#   test-hosts.sh profile            lines for espalier submit --machine FILE: mpirun over the hosts
#   test-hosts.sh cut HOST           network partition: its link goes down, and nobody is told
#   test-hosts.sh heal HOST          its link is back
#   test-hosts.sh crash HOST         power failure: all its processes are gone
#   test-hosts.sh shape RATE         every host receives at most RATE, as in 1gbit
#   test-hosts.sh down               ends all of it, and only what it has started
#
# Needs root and the Debian packages iproute2 and util-linux. TEST_HOSTS_DIR is the folder (default:
# below TMPDIR), TEST_HOSTS_PREFIX (at most 8 letters) begins the names of its network devices.
set -u
folder=${TEST_HOSTS_DIR:-${TMPDIR:-/tmp}/test-hosts.$UID}
prefix=${TEST_HOSTS_PREFIX:-eh}

die() {
  printf 'test-hosts: %s\n' "$*" >&2
  exit 1
}
init_of() { awk -v host="$1" '$1 == host { print $3 }' "$folder/hosts"; } # HOST: its process 1, seen from outside
link_of() { printf '%sv%s\n' "$prefix" "${1#h}"; }
ours() { ip netns list | awk -v own="^${prefix}[0-9]+$" '$1 ~ own { print $1 }'; }

# The host's process 1 does nothing; when it ends, the kernel ends everything in the host.
boot() { # NUMBER
  local name=$prefix$1 host=h$1 outer
  ip netns add "$name"
  ip link add "$(link_of "$host")" type veth peer name eth0 netns "$name"
  ip link set "$(link_of "$host")" master "${prefix}br" up
  ip -n "$name" addr add "10.77.0.$(($1 ? $1 : 254))/24" dev eth0
  ip -n "$name" link set eth0 up
  ip -n "$name" link set lo up
  # shellcheck disable=SC2016 # the inner shell expands it
  setsid ip netns exec "$name" unshare --fork --kill-child --pid --uts --mount --mount-proc bash -c '
    hostname "$1"
    mount --bind "$2" /etc/hosts
    mount -t tmpfs tmpfs /dev/shm
    while :; do sleep 1000 & wait; done' host "$host" "$folder/etc-hosts" < /dev/null > /dev/null 2>&1 &
  outer=$!
  for ((tries = 0; tries < 100; tries++)); do
    init=$(tr -d ' ' 2> /dev/null < "/proc/$outer/task/$outer/children")
    [ -n "$init" ] && [ "$(nsenter -t "$init" -u hostname 2> /dev/null)" = "$host" ] && break
    sleep 0.05
  done
  [ "$tries" -lt 100 ] || die "$host does not start"
  printf '%s %s %s\n' "$host" "$outer" "$init" >> "$folder/hosts"
}

up() { # N
  local i
  [ "$UID" = 0 ] || die "namespaces need root"
  [ ! -e "$folder" ] || die "$folder is there already"
  mkdir -p "$folder"
  {
    printf '127.0.0.1 localhost\n'
    for ((i = 1; i <= $1; i++)); do printf '10.77.0.%d h%d\n' "$i" "$i"; done
    printf '10.77.0.254 h0\n'
  } > "$folder/etc-hosts"
  for ((i = 1; i <= $1; i++)); do printf 'h%d slots=2\n' "$i"; done > "$folder/hostfile"
  ip link add "${prefix}br" type bridge || die "cannot add a bridge"
  ip link set "${prefix}br" up
  for ((i = 0; i <= $1; i++)); do boot "$i"; done
  cat > "$folder/rsh" << END
#!/bin/bash
# What mpirun takes for ssh: rsh HOST COMMAND...
host=\$1
shift
init=\$(awk -v host="\$host" '\$1 == host { print \$3 }' '$folder/hosts')
[ -d "/proc/\$init" ] || exit 255
exec nsenter -t "\$init" -p -n -u -m -- /bin/sh -c "\$*"
END
  chmod +x "$folder/rsh"
}

down() {
  local name host outer init
  for name in $(ours); do
    ip netns pids "$name" | xargs -r kill -9 2> /dev/null
  done
  if [ -r "$folder/hosts" ]; then
    while read -r host outer init; do
      ip link del "$(link_of "$host")" 2> /dev/null
      for ((tries = 0; tries < 50; tries++)); do
        [ -d "/proc/$outer" ] || [ -d "/proc/$init" ] || break
        sleep 0.05
      done
    done < "$folder/hosts"
  fi
  for name in $(ours); do ip netns del "$name"; done
  ip link del "${prefix}br" 2> /dev/null
  rm -rf "$folder"
}

case ${1:-} in
  up) up "${2:-4}" ;;
  run)
    shift
    # Without h0's process namespace: mpirun finds the other hosts' processes from here.
    # shellcheck disable=SC2016 # the inner shell expands it
    exec nsenter --net="/run/netns/${prefix}0" unshare --uts --mount bash -c '
      hostname h0
      mount --bind "$0" /etc/hosts
      exec "$@"' "$folder/etc-hosts" "$@"
    ;;
  profile)
    cat << END
# Written by test-hosts.sh profile: mpirun over hosts that are namespaces of this machine.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_plm_rsh_agent=$folder/rsh OMPI_MCA_plm_rsh_no_tree_spawn=1
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_pml=ob1
export OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0
launch+=(--hostfile $folder/hostfile --map-by node)
END
    ;;
  cut) ip link set "$(link_of "$2")" down ;;
  heal) ip link set "$(link_of "$2")" up ;;
  crash) kill -9 "$(init_of "$2")" ;;
  shape)
    while read -r host _; do
      tc qdisc replace dev "$(link_of "$host")" root tbf rate "$2" burst 256kb latency 50ms
    done < "$folder/hosts"
    ;;
  down) down ;;
  *)
    sed -n '2,16s/^# \{0,1\}//p' "$0"
    exit 64
    ;;
esac
