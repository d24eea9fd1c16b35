#include "framework/provenance.hpp"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <span>
#include <string_view>

#ifndef ESPALIER_VERSION
#error "ESPALIER_VERSION must be defined as a string, such as \"0.1.0\""
#endif
#ifndef ESPALIER_GIT
#define ESPALIER_GIT "unknown"
#endif

namespace espalier {
namespace {

constexpr std::array<const char*, 14> kSlurmVariables = {
    "SLURM_ARRAY_JOB_ID",  "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME", "SLURM_CPUS_PER_TASK",
    "SLURM_JOB_END_TIME",  "SLURM_JOB_ID",        "SLURM_JOB_NAME",     "SLURM_JOB_NODELIST",
    "SLURM_JOB_NUM_NODES", "SLURM_JOB_PARTITION", "SLURM_JOB_QOS",      "SLURM_NTASKS",
    "SLURM_RESTART_COUNT", "SLURM_STEP_ID"};

}  // namespace

std::string version() { return ESPALIER_VERSION; }

std::string git_version() { return ESPALIER_GIT; }

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> whole{};
  int length = 0;
  check_mpi(MPI_Get_library_version(whole.data(), &length), "MPI_Get_library_version");
  // What follows the first comma or line is who built it where.
  const std::string_view all(whole.data(), static_cast<std::size_t>(length));
  return std::string(all.substr(0, all.find_first_of(",\n")));
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> spelled{};
  const std::size_t length =
      std::strftime(spelled.data(), spelled.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {spelled.data(), length};
}

std::vector<std::string> host_names(const Comm& comm) {
  std::array<char, 256> own{};
  gethostname(own.data(), own.size() - 1);
  const std::string_view mine(own.data());
  std::vector<std::string> names;
  for (const auto& bytes : comm.gather_all_bytes(std::as_bytes(std::span(mine)))) {
    std::string name(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

std::map<std::string, std::string> slurm_variables() {
  std::map<std::string, std::string> found;
  for (const char* name : kSlurmVariables) {
    if (const char* value = std::getenv(name)) {
      found.emplace(name, value);
    }
  }
  return found;
}

}  // namespace espalier
