# How a test gets built, registered and labelled.
#
#   tests/<room>/test_<x>.cpp   Boost.Test, one process            <room>.<x>
#   tests/<room>/mpi_<x>.cpp    Boost.Test, 1 2 3 4 ranks          <room>.mpi_<x>.<ranks>
#   tests/program/test_<x>.py   the program from outside           program.<x>
#   tests/program/test_<x>.sh   the same as a shell script         program.<x>
#
# A line `// label: <words>` (in scripts `# label: <words>`) replaces the
# level it gets by default (smoke for .cpp, with 2 and 4 ranks full; full for scripts) and adds
# further labels:
#   smoke | full | night   the level, see the budgets in tests/check.sh
#   threads                is worth a run under ThreadSanitizer; includers of framework/parallel.hpp
#                          have it anyway
#   asan, tsan             runs under that sanitizer in CI: smoke tests (tsan: with `threads`) of
#                          kernels, framework, io; jobs would take longer to build than all of them
#   data                   needs the folder ESPALIER_DATA
#   cluster                starts a Slurm of its own, which takes root
# and `// timeout: <seconds>` replaces the level's time limit.
# A test that cannot run here prints a line "SKIPPED: <reason>" and ends well.

find_program(ESPALIER_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH
             DOC "A Python with h5py and scipy, the tests' second opinion")
find_program(ESPALIER_PYTHON NAMES python3)
find_program(ESPALIER_BASH NAMES bash REQUIRED)
execute_process(COMMAND "${ESPALIER_PYTHON}" -c "import h5py, numpy, scipy"
                RESULT_VARIABLE python_failed ERROR_QUIET OUTPUT_QUIET)
if(python_failed)
  message(WARNING "${ESPALIER_PYTHON} lacks h5py, numpy or scipy (Debian: python3-h5py "
                  "python3-scipy); set ESPALIER_PYTHON. Tests in Python will be skipped.")
endif()

get_filename_component(default_data "${PROJECT_SOURCE_DIR}/../shared/data" ABSOLUTE)
if(DEFINED ENV{ESPALIER_DATA})
  set(default_data "$ENV{ESPALIER_DATA}")
endif()
set(ESPALIER_DATA "${default_data}" CACHE PATH "Folder with graphchallenge/ and mnist/ for tests")

# What every test sees. Ranks share the machine's cores and are not bound to them. A run starts in a
# quarter of the time without UCX, which first measures the clock, and without a daemon for one rank,
# and in a sixth less without looking for graphics cards, remote nodes and shared attributes.
set(ESPALIER_TEST_ENVIRONMENT
  "OMPI_ALLOW_RUN_AS_ROOT=1" "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
  "OMPI_MCA_rmaps_base_oversubscribe=1" "OMPI_MCA_mpi_yield_when_idle=1"
  "OMPI_MCA_hwloc_base_binding_policy=none" "OMPI_MCA_btl=self,vader"
  "OMPI_MCA_btl_vader_single_copy_mechanism=none"
  "OMPI_MCA_pml=ob1" "OMPI_MCA_osc=^ucx" "OMPI_MCA_ess_singleton_isolated=1"
  "OMPI_MCA_plm=isolated" "OMPI_MCA_rtc=^hwloc" "OMPI_MCA_patcher=^overwrite" "PMIX_MCA_gds=hash"
  "HWLOC_PLUGINS_PATH=/none"
  "OMP_NUM_THREADS=1"
  "MPIRUN=${MPIEXEC_EXECUTABLE}"
  "ESPALIER=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/espalier")
if(IS_DIRECTORY "${ESPALIER_DATA}")
  list(APPEND ESPALIER_TEST_ENVIRONMENT "ESPALIER_DATA=${ESPALIER_DATA}")
endif()
if(ESPALIER_SANITIZE MATCHES "address")
  list(APPEND ESPALIER_TEST_ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1"
       "UBSAN_OPTIONS=print_stacktrace=1")
elseif(ESPALIER_SANITIZE MATCHES "thread")
  list(APPEND ESPALIER_TEST_ENVIRONMENT
    "TSAN_OPTIONS=ignore_noninstrumented_modules=1:allocator_may_return_null=1:suppressions=${CMAKE_CURRENT_LIST_DIR}/tsan.supp")
  find_library(ESPALIER_ARCHER NAMES archer PATHS /usr/lib/llvm-14/lib
               DOC "Tells ThreadSanitizer what OpenMP synchronises")
  if(ESPALIER_ARCHER)
    list(APPEND ESPALIER_TEST_ENVIRONMENT "OMP_TOOL_LIBRARIES=${ESPALIER_ARCHER}")
  endif()
endif()

# Building `tests_<label>` builds just what `ctest -L <label>` runs.
foreach(label IN ITEMS smoke full night threads asan tsan)
  add_custom_target(tests_${label})
endforeach()

# One main for all: with MPI for the rooms that may use it, without for kernels. The Boost header
# is precompiled once per kind.
foreach(kind IN ITEMS serial mpi)
  add_library(espalier_test_${kind} OBJECT "${CMAKE_CURRENT_SOURCE_DIR}/support/test_main.cpp")
  target_include_directories(espalier_test_${kind} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(espalier_test_${kind} PUBLIC Boost::unit_test_framework)
  target_compile_definitions(espalier_test_${kind} PUBLIC BOOST_TEST_DYN_LINK BOOST_TEST_NO_MAIN
                             BOOST_TEST_ALTERNATIVE_INIT_API)
  # What they test is compiled as it is shipped; they themselves are compiled more often than run.
  target_compile_options(espalier_test_${kind} PUBLIC "$<$<CONFIG:Release>:-O1>")
  target_precompile_headers(espalier_test_${kind} PRIVATE <boost/test/unit_test.hpp>)
endforeach()
target_link_libraries(espalier_test_mpi PUBLIC MPI::MPI_CXX OpenMP::OpenMP_CXX)
target_compile_definitions(espalier_test_mpi PUBLIC ESPALIER_TEST_WITH_MPI)

# espalier_read_marks(<file> <default level>): reads the marks described above into `level`,
# `labels` (level included) and `timeout` of the caller.
function(espalier_read_marks file default_level)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  file(STRINGS "${file}" marks LIMIT_COUNT 4 REGEX "^(//|#) (label|timeout): ")
  set(level "${default_level}")
  set(extra "")
  set(timeout "")
  foreach(mark IN LISTS marks)
    string(REGEX REPLACE "^(//|#) (label|timeout): *" "" words "${mark}")
    if(mark MATCHES "^(//|#) timeout:")
      set(timeout "${words}")
      continue()
    endif()
    separate_arguments(words)
    foreach(word IN LISTS words)
      if(word MATCHES "^(smoke|full|night)$")
        set(level "${word}")
      elseif(word MATCHES "^(threads|data|cluster)$")
        list(APPEND extra "${word}")
      else()
        message(FATAL_ERROR "${file}: unknown label '${word}' (smoke full night threads data cluster)")
      endif()
    endforeach()
  endforeach()
  file(STRINGS "${file}" uses_threads LIMIT_COUNT 1 REGEX "^#include .framework/parallel\\.hpp.")
  if(uses_threads)
    list(APPEND extra "threads")
  endif()
  list(REMOVE_DUPLICATES extra)
  if(NOT timeout)
    set(limit_smoke 60)
    set(limit_full 300)
    set(limit_night 3600)
    set(timeout ${limit_${level}})
    if(ESPALIER_SANITIZE)
      math(EXPR timeout "4 * ${timeout}")
    endif()
  endif()
  set(level "${level}" PARENT_SCOPE)
  set(labels "${level};${extra}" PARENT_SCOPE)
  set(timeout "${timeout}" PARENT_SCOPE)
endfunction()

# espalier_add_ctest(NAME <n> COMMAND <c>... LABELS <l>... TIMEOUT <s> [RANKS <r>] [ENVIRONMENT ...]):
# every ctest runs through run_test.sh in a fresh folder of its own, also its TMPDIR.
function(espalier_add_ctest)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;TIMEOUT;RANKS" "COMMAND;LABELS;ENVIRONMENT")
  add_test(NAME ${arg_NAME}
    COMMAND "${ESPALIER_BASH}" "${PROJECT_SOURCE_DIR}/tests/support/run_test.sh"
            "${PROJECT_BINARY_DIR}/tmp/${arg_NAME}" ${arg_COMMAND})
  if(NOT arg_RANKS)
    set(arg_RANKS 1)
  endif()
  set_tests_properties(${arg_NAME} PROPERTIES
    LABELS "${arg_LABELS}" TIMEOUT "${arg_TIMEOUT}" PROCESSORS ${arg_RANKS} COST "${arg_TIMEOUT}"
    SKIP_RETURN_CODE 77 ENVIRONMENT "${ESPALIER_TEST_ENVIRONMENT};${arg_ENVIRONMENT}")
endfunction()

# espalier_test(NAME <n> ROOM <room> SOURCES ... LABELS <level> ... TIMEOUT <s> [RANKS 1 2 3 4]):
# a Boost.Test program; with RANKS one ctest per rank count. Without a level among the labels given
# by the file, 2 and 4 ranks count as full: 1 and 3 already show most of what ranks can break.
function(espalier_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;ROOM;TIMEOUT" "SOURCES;RANKS;LABELS")
  if(arg_ROOM MATCHES "^(kernels|framework|io)$" AND "smoke" IN_LIST arg_LABELS)
    list(APPEND arg_LABELS asan)
    if("threads" IN_LIST arg_LABELS)
      list(APPEND arg_LABELS tsan)
    endif()
  endif()
  string(REPLACE "." "_" program "test_${arg_NAME}")
  set(kind mpi)
  if(arg_ROOM STREQUAL "kernels")
    set(kind serial)
  endif()
  add_executable(${program} ${arg_SOURCES})
  target_link_libraries(${program} PRIVATE espalier_${arg_ROOM} espalier_test_${kind})
  target_precompile_headers(${program} REUSE_FROM espalier_test_${kind})
  if(arg_ROOM MATCHES "^(io|jobs)$")
    add_dependencies(${program} espalier-walk)
  endif()
  foreach(label IN LISTS arg_LABELS)
    if(TARGET tests_${label})
      add_dependencies(tests_${label} ${program})
    endif()
  endforeach()

  set(command "$<TARGET_FILE:${program}>")
  if(NOT arg_RANKS)
    espalier_add_ctest(NAME ${arg_NAME} COMMAND ${command} TIMEOUT ${arg_TIMEOUT}
                       LABELS ${arg_ROOM} ${arg_LABELS})
    return()
  endif()
  add_dependencies(tests_full ${program})
  foreach(ranks IN LISTS arg_RANKS)
    set(labels ${arg_LABELS})
    if(ranks MATCHES "^[24]$")
      list(TRANSFORM labels REPLACE "^smoke$" "full")
      list(REMOVE_ITEM labels asan tsan)
    endif()
    espalier_add_ctest(NAME ${arg_NAME}.${ranks} RANKS ${ranks} TIMEOUT ${arg_TIMEOUT}
      COMMAND "${MPIEXEC_EXECUTABLE}" ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${command}
      LABELS ${arg_ROOM} mpi ${labels})
  endforeach()
endfunction()

# espalier_room_tests(<room>): every test_*.cpp and mpi_*.cpp of the current folder.
function(espalier_room_tests room)
  file(GLOB serial CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/test_*.cpp")
  file(GLOB parallel CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/mpi_*.cpp")
  foreach(source IN LISTS serial parallel)
    get_filename_component(name "${source}" NAME_WE)
    espalier_read_marks("${source}" smoke)
    if(name MATCHES "^mpi_")
      espalier_test(NAME ${room}.${name} ROOM ${room} SOURCES "${source}" RANKS 1 2 3 4
                    LABELS ${labels} TIMEOUT ${timeout})
    else()
      string(REGEX REPLACE "^test_" "" name "${name}")
      espalier_test(NAME ${room}.${name} ROOM ${room} SOURCES "${source}"
                    LABELS ${labels} TIMEOUT ${timeout})
    endif()
  endforeach()
endfunction()

# espalier_python_test(NAME <n> SCRIPT <file.py> LABELS ... TIMEOUT <s>)
function(espalier_python_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;SCRIPT;TIMEOUT" "LABELS")
  set(command "${ESPALIER_PYTHON}" "${arg_SCRIPT}")
  if(python_failed)
    set(command "${CMAKE_COMMAND}" -E echo "SKIPPED: no Python with h5py and scipy")
  endif()
  espalier_add_ctest(NAME ${arg_NAME} COMMAND ${command} TIMEOUT ${arg_TIMEOUT}
                     LABELS ${arg_LABELS} ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1")
endfunction()

# espalier_shell_test(NAME <n> SCRIPT <file.sh> LABELS ... TIMEOUT <s>)
function(espalier_shell_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;SCRIPT;TIMEOUT" "LABELS")
  espalier_add_ctest(NAME ${arg_NAME} COMMAND "${ESPALIER_BASH}" "${arg_SCRIPT}"
                     TIMEOUT ${arg_TIMEOUT} LABELS ${arg_LABELS})
endfunction()
