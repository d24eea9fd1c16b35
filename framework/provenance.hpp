// Who, where and when: for the run report, never for outputs (but the version, which goes to both).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "framework/comm.hpp"

namespace espalier {

std::string version();      // "0.1.0"
std::string git_version();  // what git describes the source as, or "unknown"
std::string mpi_version();
std::string utc_now();  // 2026-01-31T23:59:59Z

// Host names in rank order, each once.
//   where    collective over `comm`
std::vector<std::string> host_names(const Comm& comm);

// The SLURM_* variables of this process that identify a job; empty outside Slurm.
std::map<std::string, std::string> slurm_variables();

}  // namespace espalier
