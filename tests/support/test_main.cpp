// The one main of all Boost.Test programs. Under mpirun every rank runs the same cases; the ranks
// agree on the outcome at the end, so that a failure on any of them fails the test on all.
#include <boost/test/unit_test.hpp>
#include <vector>

#ifdef ESPALIER_TEST_WITH_MPI
#include <mpi.h>

#include <iostream>
#endif

namespace {

bool init_nothing() { return true; }

// Boost turns a signal into a failed check, and takes the death of a child process for a signal;
// here children may die on purpose and a crash should be a crash.
int run_cases(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  char no_signals[] = "--catch_system_errors=no";
  char no_color[] = "--color_output=no";
  arguments.insert(arguments.begin() + 1, {no_signals, no_color});
  const int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  return boost::unit_test::unit_test_main(init_nothing, count, arguments.data());
}

}  // namespace

#ifdef ESPALIER_TEST_WITH_MPI

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (provided < MPI_THREAD_FUNNELED) {
    std::cerr << "MPI offers no MPI_THREAD_FUNNELED\n";
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  const int own = run_cases(argc, argv);
  if (own != 0 && rank != 0) {
    std::cerr << "the failure above is on rank " << rank << std::endl;
  }
  int worst = own;
  MPI_Allreduce(&own, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return worst;
}

#else

int main(int argc, char** argv) { return run_cases(argc, argv); }

#endif
