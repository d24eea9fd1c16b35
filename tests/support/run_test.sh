#!/usr/bin/env bash
# run_test.sh FOLDER COMMAND...: runs one test in a fresh FOLDER, which is also its TMPDIR. The
# folder stays only if the test fails. A test that ends well but printed "SKIPPED: <reason>" counts
# as skipped (77); one that fails has failed, whatever it printed.
#
# Nothing may be left of a test when it ends: a process fails it (and is ended), and so do shared
# memory and MPI's own files, unless the test kills ranks, which cannot tidy up then.
set -u
folder=$1
shift

rm -rf -- "$folder"
mkdir -p -- "$folder" || exit 1
export TMPDIR=$folder
cd -- "$folder" || exit 1

# MPI's files and shared memory. Its sockets need short paths.
memory=/dev/shm
[ -w "$memory" ] || memory=/tmp
OMPI_MCA_orte_tmpdir_base=$(mktemp -d /tmp/espalier-mpi-XXXXXX) || exit 1
OMPI_MCA_btl_vader_backing_directory=$(mktemp -d "$memory/espalier-shm-XXXXXX") || exit 1
export OMPI_MCA_orte_tmpdir_base OMPI_MCA_btl_vader_backing_directory
chmod 1777 "$OMPI_MCA_orte_tmpdir_base" "$OMPI_MCA_btl_vader_backing_directory"
# By this, processes of this test are known.
mark=RUN_TEST_MARK=$OMPI_MCA_orte_tmpdir_base

# Sanitizers cannot map their shadow under some kernels' address randomisation.
if [ -n "${TSAN_OPTIONS:-}${ASAN_OPTIONS:-}" ] && setarch -R true 2>/dev/null; then
  set -- setarch -R "$@"
fi

log=$folder.log
processes_left() {
  grep -lsz "^$mark\$" /proc/[0-9]*/environ | cut -d / -f 3
}

exec 3> >(tee -- "$log")
writer=$!
env "$mark" "$@" >&3 2>&1 3>&-
status=$?
exec 3>&-
cd / || exit 1
# What has just been told to end may take a moment.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  left=$(processes_left)
  [ -z "$left" ] && break
  sleep 0.2
done
for pid in $left; do
  echo "LEFT BEHIND: process $pid: $(tr '\0' ' ' < "/proc/$pid/cmdline")" | tee -a -- "$log"
  kill -9 "$pid"
  status=1
done
wait "$writer"
kills=$(grep -lE 'SIGKILL|kill -9' -- "${!#}" 2> /dev/null)
left=$(find "$OMPI_MCA_btl_vader_backing_directory" "$OMPI_MCA_orte_tmpdir_base" -mindepth 1 ! -type d)
if [ -n "$left" ] && [ -z "$kills" ]; then
  echo "LEFT BEHIND: $left"
  status=1
fi
rm -rf -- "$OMPI_MCA_orte_tmpdir_base" "$OMPI_MCA_btl_vader_backing_directory"

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
