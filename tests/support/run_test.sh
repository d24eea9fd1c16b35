#!/usr/bin/env bash
# run_test.sh FOLDER COMMAND...: runs one test in a fresh FOLDER, which is also its TMPDIR. The
# folder stays only if the test fails. A test that ends well but printed "SKIPPED: <reason>" counts
# as skipped (77); one that fails has failed, whatever it printed.
set -u
folder=$1
shift

# MPI's sockets need short paths, so its own files stay where they were.
export OMPI_MCA_orte_tmpdir_base=${OMPI_MCA_orte_tmpdir_base:-${TMPDIR:-/tmp}}
rm -rf -- "$folder"
mkdir -p -- "$folder" || exit 1
export TMPDIR=$folder
cd -- "$folder" || exit 1

# Sanitizers cannot map their shadow under some kernels' address randomisation.
if [ -n "${TSAN_OPTIONS:-}${ASAN_OPTIONS:-}" ] && setarch -R true 2>/dev/null; then
  set -- setarch -R "$@"
fi

log=$folder.log
"$@" 2>&1 | tee -- "$log"
status=${PIPESTATUS[0]}
cd / || exit 1
if [ "$status" -eq 0 ]; then
  rm -rf -- "$folder"
  if grep -qE "^SKIPPED: |\.\.\. skipped ['\"]" -- "$log"; then
    status=77
  else
    rm -f -- "$log"
  fi
elif [ "$status" -eq 77 ]; then
  status=1 # 77 is also espalier's "no permission": only the line above skips a test
fi
exit "$status"
