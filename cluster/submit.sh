#!/bin/bash
# espalier submit: writes a Slurm job script for an espalier job, shows or submits it.
set -uo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

usage() {
  cat << 'END'
usage: espalier submit [OPTIONS] [SLURM OPTIONS] -- JOB [JOB'S OPTIONS]

Writes a job script, submits it with sbatch and prints the job's number. The script starts the ranks,
lets them save when the time is over or Slurm asks, and goes back into the queue until the job is done.

  --dry-run            print the script, submit nothing
  --machine NAME|FILE  how ranks are started: srun, mpirun (beside this program), or a file of yours
                       (without it: srun)
  --restarts N         go back into the queue at most N times (without it: 100)
  --help               print this help

All other options before -- are sbatch's own; they become #SBATCH lines.

  espalier submit --dry-run -N 4 -n 64 -c 4 -t 2:00:00 -- infer net.h5 batch.h5 -o result.h5
  espalier submit -n 8 -t 30 --machine mpirun -- infer net.h5 batch.h5 -o result.h5 --output top
END
}

refuse() { # STATUS TEXT
  printf 'espalier: submit: %s\n' "$2" >&2
  exit "$1"
}

sbatch_lines=()
add_sbatch() { # OPTION [VALUE]
  local value=${2-}
  case "$*" in *[$'\n"']*) refuse 64 "$1: no quotes or line ends in Slurm's options" ;; esac
  [[ $value == *[[:space:]]* ]] && value="\"$value\""
  sbatch_lines+=("#SBATCH $1${value:+ $value}")
}

# The word after -o or --out of a command line: where the job's record lies, too.
output_of() {
  while [ $# -gt 0 ]; do
    case $1 in
      -o | --out) printf '%s' "${2-}" && return ;;
      --out=*) printf '%s' "${1#--out=}" && return ;;
    esac
    shift
  done
}

dry_run=
machine=srun
restarts=100
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --dry-run) dry_run=1 ;;
    --machine | --restarts)
      [ $# -gt 1 ] || refuse 64 "$1 needs a value"
      if [ "$1" = --machine ]; then machine=$2; else restarts=$2; fi
      shift
      ;;
    --machine=*) machine=${1#*=} ;;
    --restarts=*) restarts=${1#*=} ;;
    -*)
      if [ $# -gt 1 ] && [[ $2 != -* ]]; then
        add_sbatch "$1" "$2"
        shift
      else
        add_sbatch "$1"
      fi
      ;;
    *) refuse 64 "'$1' is no option; the job follows after --" ;;
  esac
  shift
done
[ "${1-}" = -- ] || refuse 64 "there is no --; usage: espalier submit [SLURM OPTIONS] -- JOB [OPTIONS]"
shift
[ $# -gt 0 ] || refuse 64 "no job follows after --"
[[ $restarts =~ ^[0-9]+$ ]] || refuse 64 "--restarts '$restarts' is no whole number"

profile_file=$machine
[ -f "$profile_file" ] || profile_file=$here/machines/$machine.env
[ -f "$profile_file" ] || refuse 66 "there is no machine '$machine'; known: $(cd "$here/machines" && printf '%s ' *.env | sed 's/\.env / /g')or a file"

program=${espalier_program:?espalier submit is started by espalier}
template=$(cat "$here/job.sh.in") || refuse 71 "cannot read $here/job.sh.in"
# Quoted values hold no special characters for the replacement but what quoting protects.
replace() { template=${template//"@$1@"/"$2"}; }
replace sbatch "$(printf '%s\n' "${sbatch_lines[@]+"${sbatch_lines[@]}"}")"
replace name "${1//[^A-Za-z0-9_.-]/_}"
replace machine "$machine"
replace profile "$(cat "$profile_file")"
replace restarts "$restarts"
replace folder "$(printf '%q' "$PWD")"
replace output "$(printf '%q' "$(output_of "$@")")"
replace command "$(printf '%q' "$program")$(printf ' %q' "$@")"

if [ -n "$dry_run" ]; then
  printf '%s\n' "$template"
  exit 0
fi
command -v sbatch > /dev/null || refuse 71 "there is no sbatch here; --dry-run prints the script"
sbatch --parsable <<< "$template" || refuse 71 "sbatch has refused the job"
