// Start and end of an MPI program, and the only catch-all.
#pragma once

#include <functional>

#include "framework/comm.hpp"
#include "framework/error.hpp"

namespace espalier {

// Starts MPI (FUNNELED), runs `story` on a duplicate of MPI_COMM_WORLD, ends MPI.
// A SharedError: rank 0 prints "espalier: <message>" to stderr and all finalize with its status.
// Anything else (a SharedError of only some ranks included): the rank prints "espalier: fatal on
// rank r: …" and calls MPI_Abort with its status, because the others may be waiting inside a
// collective call. On one rank any Error counts as shared.
//   returns  the process exit status
int run_main(int argc, char** argv, const std::function<ExitStatus(const Comm&)>& story);

}  // namespace espalier
