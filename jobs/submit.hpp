// Jobs of one process that do without MPI, because a login node need not be able to start it.
#pragma once

#include <optional>

namespace espalier::jobs {

// Runs what needs no MPI, if that is what the command line asks for: the scripts of cluster/
// (`submit`, `scaling`), which this process becomes, and the pages of --manual and --completion.
//   returns  the exit status; nothing if it is for MPI to start
std::optional<int> run_without_mpi(int argc, char** argv);

}  // namespace espalier::jobs
