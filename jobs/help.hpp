// What --help and --version print.
#pragma once

#include <string>
#include <vector>

#include "jobs/job.hpp"

namespace espalier::jobs {

std::string program_help(const std::vector<Job>& jobs);
std::string job_help(const Job& job);
std::string version_text();  // version and git, MPI, HDF5, SIMD

}  // namespace espalier::jobs
