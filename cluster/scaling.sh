#!/bin/bash
# espalier scaling: runs an inference on several numbers of ranks and compares.
set -uo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

usage() {
  cat << 'END'
usage: espalier scaling --ranks P,P,... [OPTIONS] -- infer NETWORK BATCH [INFER'S OPTIONS]

Runs the inference on each number of ranks, first on all samples each time (strong scaling), then on
samples that grow with the ranks, of which the largest number takes all (weak scaling; numbers of ranks
that do not divide the largest are left out). Prints a table, and writes the runs' reports, a page and
a picture into a folder. Start it within an allocation, or on one machine.

  --ranks P,P,...      numbers of ranks, ascending
  --folder DIR         where results and reports go (without it: scaling); results are removed
  --repeat N           run each N times and take the fastest (without it: 1)
  --machine NAME|FILE  how ranks are started, as for espalier submit (without it: mpirun)
  --help               print this help

  espalier scaling --ranks 1,2,4 -- infer net.h5 batch.h5
END
}

refuse() { # STATUS TEXT
  printf 'espalier: scaling: %s\n' "$2" >&2
  exit "$1"
}

machine=mpirun
folder=scaling
repeat=1
counts=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --ranks | --folder | --repeat | --machine)
      [ $# -gt 1 ] || refuse 64 "$1 needs a value"
      case $1 in
        --ranks) counts=$2 ;;
        --folder) folder=$2 ;;
        --repeat) repeat=$2 ;;
        --machine) machine=$2 ;;
      esac
      shift
      ;;
    *) refuse 64 "unknown option '$1'; see espalier scaling --help" ;;
  esac
  shift
done
[ "${1-}:${2-}" = --:infer ] || refuse 64 "there is no -- infer; see espalier scaling --help"
shift 2
[[ $counts =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]] || refuse 64 "--ranks '$counts' is no list as in 1,2,4"
[[ $repeat =~ ^[1-9][0-9]*$ ]] || refuse 64 "--repeat '$repeat' is no whole number from 1"
for word in "$@"; do
  case $word in
    -o | --out | --out=* | --report | --report=* | --part | --part=*)
      refuse 64 "$word is set by scaling itself"
      ;;
  esac
done
profile=$machine
[ -f "$profile" ] || profile=$here/machines/$machine.env
[ -f "$profile" ] || refuse 66 "there is no machine '$machine'"
# shellcheck disable=SC1090 # a file of the user's
. "$profile"
program=${espalier_program:?espalier scaling is started by espalier}
mkdir -p "$folder" || refuse 73 "cannot make the folder $folder"

# The number behind a key of a run report.
figure() { sed -nE "s/^  \"$2\": ([-+0-9.e]+),?$/\1/p" "$1"; }

# Runs once more if --repeat says so, and keeps the report of the fastest.
measure() { # NAME RANKS OPTION...
  local report=$folder/$1.json ranks=$2 i status
  shift 2
  for ((i = 0; i < repeat; i++)); do
    # shellcheck disable=SC2154 # the machine's profile sets it
    "${launch[@]}" -n "$ranks" "$program" infer "$@" -o "$folder/result.h5" --force --no-resume \
      --quiet --report "$report.new"
    status=$?
    rm -f "$folder/result.h5"
    [ "$status" -eq 0 ] || refuse "$status" "infer on $ranks ranks has ended with $status"
    if [ "$i" -eq 0 ] ||
      awk "BEGIN { exit !($(figure "$report.new" seconds) < $(figure "$report" seconds)) }"; then
      mv "$report.new" "$report"
    fi
  done
  rm -f "$report.new"
}

IFS=, read -ra ranks_list <<< "$counts"
most=${ranks_list[-1]}
rm -f "$folder"/strong-*.json "$folder"/weak-*.json
reports=()
printf '%-8s %6s %10s %12s %12s %11s\n' sweep ranks samples seconds 'G edges/s' efficiency
# Efficiency: of strong scaling (speed per rank against the first row), of weak scaling the same.
show() { # SWEEP RANKS REPORT
  awk -v sweep="$1" -v ranks="$2" -v samples="$(figure "$3" samples)" -v seconds="$(figure "$3" seconds)" \
    -v speed="$(figure "$3" edges_per_second)" -v first="${first[*]}" 'BEGIN {
      split(first, base, " ")
      printf "%-8s %6d %10d %12.4g %12.4g %10.0f%%\n", sweep, ranks, samples, seconds, speed / 1e9,
        100 * speed / ranks / (base[2] / base[1])
    }'
}
for sweep in strong weak; do
  first=()
  for ranks in "${ranks_list[@]}"; do
    part=()
    if [ "$sweep" = weak ]; then
      [ $((most % ranks)) -eq 0 ] || continue
      part=(--part "1/$((most / ranks))")
    fi
    report=$folder/$sweep-$ranks.json
    measure "$sweep-$ranks" "$ranks" "$@" "${part[@]+"${part[@]}"}"
    reports+=("$report")
    [ ${#first[@]} -gt 0 ] || first=("$ranks" "$(figure "$report" edges_per_second)")
    show "$sweep" "$ranks" "$report"
  done
done
for output in scaling.html scaling.svg; do
  [ "$output" = scaling.html ] || [ "${#ranks_list[@]}" -gt 1 ] || continue
  "$program" report "${reports[@]}" -o "$folder/$output" --force --quiet || exit
done
printf 'espalier: scaling: see %s/scaling.html\n' "$folder" >&2
