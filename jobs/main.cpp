#include <string>
#include <vector>

#include "framework/runtime.hpp"
#include "jobs/job.hpp"
#include "jobs/submit.hpp"

int main(int argc, char** argv) {
  if (const auto status = espalier::jobs::run_without_mpi(argc, argv)) {
    return *status;
  }
  return espalier::run_main(argc, argv, [&](const espalier::Comm& world) {
    return espalier::jobs::run_program(world, std::vector<std::string>(argv + 1, argv + argc));
  });
}
