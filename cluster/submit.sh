#!/bin/bash
# espalier submit: writes Slurm job scripts for espalier jobs, shows or submits them.
set -uo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

usage() {
  cat << 'END'
usage: espalier submit [OPTIONS] [SLURM OPTIONS] -- JOB [JOB'S OPTIONS] [-- JOB ...]

Writes a job script, submits it with sbatch and prints the job's number. The script starts the ranks,
lets them save when the time is over or Slurm asks, and goes back into the queue until the job is done.
Several jobs, each after its own --, run one after the other, each only if the one before was done.

  --array N[%M]        split the samples of infer into N parts, at most M of which run at a time, and
                       join the results by a job of merge: RESULT from RESULT.1ofN ... RESULT.NofN
  --dry-run            print the scripts, submit nothing
  --machine NAME|FILE  how ranks are started: srun, mpirun (beside this program), or a file of yours
                       (without it: srun)
  --restarts N         go back into the queue at most N times (without it: 100)
  --help               print this help

All other options before the first -- are sbatch's own; they become #SBATCH lines of every job. Between
a -- and its JOB there may be further ones for this job alone, written with = (--ntasks=1, -n1).

  espalier submit --dry-run -N 4 -n 64 -c 4 -t 2:00:00 -- infer net.h5 batch.h5 -o result.h5
  espalier submit -n 8 -t 30 --machine mpirun -- infer net.h5 batch.h5 -o result.h5 --output top
  espalier submit -n 16 -t 60 --array 10 -- infer net.h5 batch.h5 -o result.h5
  espalier submit -n 8 -t 60 -- import --from npy --model model -o net.h5 -- \
    prune net.h5 --method magnitude --sparsity 0.9 -o small.h5 -- \
    --nodes=4 --ntasks=64 infer small.h5 batch.h5 -o result.h5
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
set_array() { # N[%M]
  [[ $1 =~ ^([1-9][0-9]{0,5})(%[1-9][0-9]*)?$ ]] ||
    refuse 64 "--array '$1' is no number of parts; right is N, or N%M for at most M at a time"
  parts=${BASH_REMATCH[1]}
  at_a_time=${BASH_REMATCH[2]}
}

# --- the command line -----------------------------------------------------------------------------

dry_run=
machine=srun
restarts=100
parts=
at_a_time=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --dry-run) dry_run=1 ;;
    --machine | --restarts | --array)
      [ $# -gt 1 ] || refuse 64 "$1 needs a value"
      case $1 in
        --machine) machine=$2 ;;
        --restarts) restarts=$2 ;;
        --array) set_array "$2" ;;
      esac
      shift
      ;;
    --machine=*) machine=${1#*=} ;;
    --restarts=*) restarts=${1#*=} ;;
    --array=*) set_array "${1#*=}" ;;
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
[[ $restarts =~ ^[0-9]+$ ]] || refuse 64 "--restarts '$restarts' is no whole number"
profile_file=$machine
[ -f "$profile_file" ] || profile_file=$here/machines/$machine.env
[ -f "$profile_file" ] || refuse 66 "there is no machine '$machine'; known: $(cd "$here/machines" && printf '%s ' *.env | sed 's/\.env / /g')or a file"
profile=$(cat "$profile_file") || refuse 77 "cannot read $profile_file"
template=$(cat "$here/job.sh.in") || refuse 71 "cannot read $here/job.sh.in"
program=${espalier_program:?espalier submit is started by espalier}

# --- the scripts ----------------------------------------------------------------------------------

# Reads a job's words into `output`, the value of -o, and `command`, its words quoted for the script,
# where "$output" stands for it. Reports and logs of an array's tasks get names of their own.
output=
command=
# shellcheck disable=SC2016 # the job script expands $output
read_words() { # TASK WORD...
  local task=$1 previous='' word quoted
  shift
  output=
  command=
  for word in "$@"; do
    quoted=$(printf '%q' "$word")
    case $previous:$word in
      -o:* | --out:*) output=$word quoted='"$output"' ;;
      --report:* | --log-dir:* | *:--report=* | *:--log-dir=*) quoted+=$task ;;
      *:--out=*) output=${word#*=} quoted='--out="$output"' ;;
    esac
    command+=" $quoted"
    previous=$word
  done
}

scripts=()
names=()
add_script() { # NAME OUTPUT COMMAND [SBATCH-LINE...]: a quoted output and command
  local script=$template
  # Quoted values hold no special characters for the replacement but what quoting protects.
  replace() { script=${script//"@$1@"/"$2"}; }
  replace sbatch "$(printf '%s\n' "${sbatch_lines[@]+"${sbatch_lines[@]}"}" "${@:4}" | sed '/^$/d')"
  replace name "$1"
  replace machine "$machine"
  replace profile "$profile"
  replace restarts "$restarts"
  replace folder "$(printf '%q' "$PWD")"
  replace output "$2"
  replace command "$(printf '%q' "$program") $3"
  scripts+=("$script")
  names+=("$1")
}

# shellcheck disable=SC2016 # the job script expands $output and the task's number
add_job() { # WORD...: what follows one --
  local common=("${sbatch_lines[@]+"${sbatch_lines[@]}"}") task also='' word
  while [[ ${1-} == -* ]]; do
    add_sbatch "$1"
    shift
  done
  [ $# -gt 0 ] || refuse 64 "no job follows after --"
  local name=${1//[^A-Za-z0-9_.-]/_}
  if [ -z "$parts" ] || [ "$1" != infer ]; then
    read_words '' "$@"
    add_script "$name" "$(printf '%q' "$output")" "${command# }"
  else
    task='.${SLURM_ARRAY_TASK_ID}of'$parts
    read_words "$task" "$@"
    [ -n "$output" ] || refuse 64 "--array: infer has no -o RESULT, from which the parts have their names"
    word=$(printf '%q' "$output")
    add_script "$name" "$word$task" "${command# } --part \"\$SLURM_ARRAY_TASK_ID/$parts\"" \
      "#SBATCH --array=1-$parts$at_a_time"
    for word in "$@"; do case $word in --force | --compress) also+=" $word" ;; esac; done
    add_script merge "$(printf '%q' "$output")" \
      "merge \"\$output\".{1..$parts}of$parts -o \"\$output\"$also"
  fi
  sbatch_lines=("${common[@]+"${common[@]}"}")
}

all=("$@")
while [ $# -gt 0 ]; do
  shift # the --
  words=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    words+=("$1")
    shift
  done
  add_job "${words[@]+"${words[@]}"}"
done
if [ -n "$parts" ] && [[ ! " ${names[*]} " == *" infer "* ]]; then
  refuse 64 "--array splits the samples of infer, but there is no infer among the jobs: ${all[*]:1}"
fi

# --- what becomes of them -------------------------------------------------------------------------

if [ -n "$dry_run" ]; then
  for i in "${!scripts[@]}"; do
    [ "$i" -eq 0 ] || printf '\n# ===== starts if the job before (%s) was done:\n' "${names[i - 1]}"
    [ "$i" -eq 0 ] || printf '# ===== sbatch --dependency=afterok:JOB --kill-on-invalid-dep=yes\n\n'
    printf '%s\n' "${scripts[i]}"
  done
  exit 0
fi
command -v sbatch > /dev/null || refuse 71 "there is no sbatch here; --dry-run prints the script"
numbers=()
for i in "${!scripts[@]}"; do
  after=()
  [ "$i" -eq 0 ] || after=(--dependency="afterok:${numbers[i - 1]}" --kill-on-invalid-dep=yes)
  if ! number=$(sbatch --parsable "${after[@]+"${after[@]}"}" <<< "${scripts[i]}"); then
    [ "$i" -eq 0 ] || scancel "${numbers[@]}"
    refuse 71 "sbatch has refused the job of ${names[i]}${numbers[0]:+; those before it are cancelled}"
  fi
  numbers+=("${number%%;*}")
done
printf '%s\n' "${numbers[@]}"
