#include "framework/runtime.hpp"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace espalier {
namespace {

// How long a rank that does not speak lets the one that does finish its line before it aborts.
constexpr std::chrono::seconds kHeadStart{5};

void print_line(const std::string& line) {
  // One call for the whole line: the lines of several ranks then do not mix.
  std::fputs(text("espalier: ", line, "\n").c_str(), stderr);
  std::fflush(nullptr);
}

[[noreturn]] void fatal(int rank, ExitStatus status, const std::string& message) {
  print_line(text("fatal on rank ", rank, ": ", message));
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(status));
  std::_Exit(static_cast<int>(status));
}

// Every rank knows: one of them says it, all go on to finalize.
ExitStatus end_together(int rank, const Error& error) {
  if (rank == 0) {
    print_line(error.what());
  }
  return error.status();
}

// Only the ranks of a part of the world know; the others may be waiting for them.
[[noreturn]] void end_for_others(int rank, const SharedError& error) {
  if (!error.speaks()) {
    std::this_thread::sleep_for(kHeadStart);
  }
  fatal(rank, error.status(), error.what());
}

ExitStatus tell(const std::function<ExitStatus(const Comm&)>& story, int rank, int ranks) {
  try {
    const Comm world(MPI_COMM_WORLD);
    return story(world);
  } catch (const SharedError& error) {
    if (error.known_to_all(ranks)) {
      return end_together(rank, error);
    }
    end_for_others(rank, error);
  } catch (const Error& error) {
    if (ranks == 1) {
      return end_together(rank, error);
    }
    fatal(rank, error.status(), error.what());
  } catch (const std::bad_alloc&) {
    fatal(rank, ExitStatus::kDoesNotFit, text("out of memory on rank ", rank));
  } catch (const std::exception& error) {
    fatal(rank, ExitStatus::kOurBug, error.what());
  } catch (...) {
    fatal(rank, ExitStatus::kOurBug, "an exception of unknown type");
  }
}

// Whether no launcher has started this process: each leaves variables of its kind.
bool is_alone() {
  constexpr std::array<std::string_view, 6> kLaunched = {
      "PMI_", "PMI2_", "PMIX_RANK", "OMPI_COMM_WORLD_", "SLURM_PROCID", "PALS_"};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view spelled = *variable;
    if (std::any_of(kLaunched.begin(), kLaunched.end(),
                    [&](std::string_view name) { return spelled.starts_with(name); })) {
      return false;
    }
  }
  return true;
}

// Who is alone needs neither a daemon to spawn others nor fast networks, which Open MPI takes time
// to look for; nor do the graphics cards matter that hwloc's plugins look for. They read variables
// at their start; processes that are started later do not get them.
int start_mpi(int& argc, char**& argv, int& provided) {
  std::vector<const char*> set;
  for (const auto& [name, value] :
       {std::pair("OMPI_MCA_ess_singleton_isolated", "1"), std::pair("OMPI_MCA_pml", "ob1"),
        std::pair("HWLOC_PLUGINS_PATH", "/nowhere")}) {
    if (is_alone() && std::getenv(name) == nullptr && ::setenv(name, value, 0) == 0) {
      set.push_back(name);
    }
  }
  const int code = MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  for (const char* name : set) {
    ::unsetenv(name);
  }
  return code;
}

}  // namespace

int run_main(int argc, char** argv, const std::function<ExitStatus(const Comm&)>& story) {
  int provided = MPI_THREAD_SINGLE;
  if (start_mpi(argc, argv, provided) != MPI_SUCCESS) {
    print_line("MPI does not start");
    return static_cast<int>(ExitStatus::kSystem);
  }
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (provided < MPI_THREAD_FUNNELED) {
    fatal(rank, ExitStatus::kSystem,
          "this MPI does not allow threads; espalier needs MPI_THREAD_FUNNELED");
  }
  const ExitStatus status = tell(story, rank, ranks);
  std::fflush(nullptr);
  MPI_Finalize();
  return static_cast<int>(status);
}

}  // namespace espalier
