#!/usr/bin/env bash
# Builds espalier and runs everything a change must pass, from a bare Debian 12 on (git and bash).
#
#   bash tests/check.sh [STAGE...]     stages: packages scripts build asan tsan smoke full
#                                              asan_program tsan_jobs
#
# Without arguments those of the first line run in this order. Each has a budget of wall time on two cores;
# the table at the end compares. A stage over its budget is reported, a failed one makes the exit
# status 1. ESPALIER_DATA names the folder of the data tests; where it does not exist they are
# skipped, where it exists a skipped one is a failure. CHECK_JOBS sets the number of parallel jobs.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

declare -A budget=([packages]=300 [scripts]=10 [build]=300 [asan]=540 [tsan]=240 [smoke]=60 [full]=420 [asan_program]=1200 [tsan_jobs]=900)
all_stages=(packages scripts build asan tsan smoke full)
jobs=${CHECK_JOBS:-$(nproc)}
data=$(realpath -m "${ESPALIER_DATA:-../shared/data}")
results=()          # stage, seconds, outcome
tests_total=0
tests_failed=0
skipped=() # test and reason
forbidden_skips=()

say() { printf '\n== %s\n' "$*"; }

# --- packages ---------------------------------------------------------------------------------

# shellcheck disable=SC2317 # the stages are called by name
stage_packages() { bash tests/support/install_packages.sh < tests/packages.txt; }

# --- builds -----------------------------------------------------------------------------------

# With ccache at hand a second build takes seconds, also in another clone.
launcher=()
if command -v ccache > /dev/null; then
  launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
  export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
fi

build_preset() { # PRESET
  cmake --preset "$1" -DESPALIER_DATA="$data" "${launcher[@]}" > "build/$1.log" 2>&1 ||
    { cat "build/$1.log"; return 1; }
  cmake --build --preset "$1" -j "$jobs"
}

# shellcheck disable=SC2317
stage_scripts() {
  git ls-files -z -- '*.sh' .ci/run | xargs -0 -r shellcheck
}
# shellcheck disable=SC2317
stage_build() { build_preset ci; }

# --- tests ------------------------------------------------------------------------------------

# Runs the tests of BUILD that carry LABEL (only those whose name matches, if given), and books the
# outcome.
run_tests() { # BUILD LABEL [NAME-REGEX]
  local log=build/ctest-$1-$2.log status count
  # Most tests wait for mpirun more than they compute, hence two for each core.
  ctest --test-dir "build/$1" -L "^$2\$" -R "${3:-.}" -j $((2 * jobs)) --output-on-failure --no-tests=error 2>&1 |
    tee "$log"
  status=${PIPESTATUS[0]}
  # "97% tests passed, 3 tests failed out of 92"
  count=$(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$log")
  if [ -n "$count" ]; then
    tests_failed=$((tests_failed + ${count% *}))
    tests_total=$((tests_total + ${count#* }))
  fi
  book_skips "$1" "$log"
  return "$status"
}

# Lists the skipped tests of a log with their reasons; a data test may be skipped only without data.
book_skips() { # BUILD LOG
  local name reason data_tests
  data_tests=$(ctest --test-dir "build/$1" -N -L '^data$' | sed -nE 's/^ *Test +#[0-9]+: //p')
  while read -r name; do
    reason=$(grep -hoE "SKIPPED: .*|\.\.\. skipped ['\"].*" "build/$1/tmp/$name.log" 2> /dev/null |
      sed -E 's/^SKIPPED: //; s/^\.\.\. skipped //' | sort -u | paste -sd ';')
    skipped+=("$1 $name: ${reason:-no reason given}")
    if [ -d "$data" ]; then
      if grep -qxF -- "$name" <<< "$data_tests" || grep -qi 'data' <<< "$reason"; then
        forbidden_skips+=("$1 $name: ${reason:-no reason given}")
      fi
    fi
  done < <(sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) \.*\**Skipped.*/\1/p' "$2")
}

# AddressSanitizer takes the smoke tests of the rooms that handle memory and foreign bytes, and the
# seeds of the fuzzers; ThreadSanitizer those of them that run on threads. Building all jobs twice
# more takes as long as everything else, so two stages are not among those of CI: asan_program runs
# the program on files that are broken, odd or of other programs, tsan_jobs inference on threads.
asan_program='^program\.(bad_text|bad_files|shapes|formats|import_.*|export_.*|onnx|safetensors|compare|outputs|second_opinion|graphchallenge)$'
# shellcheck disable=SC2317
stage_asan() { build_preset asan && run_tests asan asan; }
# shellcheck disable=SC2317
stage_asan_program() {
  build_preset asan && cmake --build build/asan -j "$jobs" --target espalier &&
    run_tests asan full "$asan_program"
}
# shellcheck disable=SC2317
stage_tsan() { build_preset tsan && run_tests tsan tsan; }
# shellcheck disable=SC2317
stage_tsan_jobs() {
  build_preset tsan && cmake --build build/tsan -j "$jobs" --target tests_threads &&
    run_tests tsan threads
}
# shellcheck disable=SC2317
stage_smoke() { run_tests release smoke; }
# shellcheck disable=SC2317
stage_full() { run_tests release full; }

# --- all of it --------------------------------------------------------------------------------

run_stage() { # STAGE
  local started=$SECONDS outcome=passed
  say "$1 (budget ${budget[$1]} s)"
  "stage_$1" || outcome=FAILED
  results+=("$1 $((SECONDS - started)) $outcome")
  [ "$outcome" = passed ]
}

report() {
  local line stage seconds outcome note failed=0
  say "summary"
  if [ "${#skipped[@]}" -gt 0 ]; then
    printf 'skipped:\n'
    printf '  %s\n' "${skipped[@]}"
  fi
  if [ ! -d "$data" ]; then
    printf 'no data folder (%s), so data tests cannot run; set ESPALIER_DATA\n' "$data"
  fi
  printf '%-10s %8s %8s  %s\n' stage used/s budget/s outcome
  for line in "${results[@]}"; do
    read -r stage seconds outcome <<< "$line"
    note=
    [ "$seconds" -gt "${budget[$stage]}" ] && note=' (over budget)'
    [ "$outcome" = passed ] || failed=1
    printf '%-10s %8d %8d  %s%s\n' "$stage" "$seconds" "${budget[$stage]}" "$outcome" "$note"
  done
  printf '%-10s %8d\n\n' all "$SECONDS"
  if [ "${#forbidden_skips[@]}" -gt 0 ]; then
    failed=1
    printf 'FAILED: skipped although the data folder %s exists:\n' "$data"
    printf '  %s\n' "${forbidden_skips[@]}"
  fi
  [ "$failed" -eq 0 ] || printf 'FAILED: see the stages above\n'
  if [ "$tests_total" -gt 0 ]; then
    printf '%d%% tests passed, %d tests failed out of %d\n' \
      $((100 * (tests_total - tests_failed) / tests_total)) "$tests_failed" "$tests_total"
  fi
  return "$failed"
}

stages=("$@")
[ "${#stages[@]}" -gt 0 ] || stages=("${all_stages[@]}")
for stage in "${stages[@]}"; do
  if [ -z "${budget[$stage]:-}" ]; then
    printf 'unknown stage %s; there are: %s\n' "$stage" "${!budget[*]}" >&2
    exit 64
  fi
done
mkdir -p build
for stage in "${stages[@]}"; do
  # Without packages or a build the rest would only repeat the same failure.
  if ! run_stage "$stage" && [[ $stage =~ ^(packages|build)$ ]]; then
    break
  fi
done
report
