#include <string>
#include <vector>

#include "framework/runtime.hpp"
#include "jobs/job.hpp"

int main(int argc, char** argv) {
  return espalier::run_main(argc, argv, [&](const espalier::Comm& world) {
    return espalier::jobs::run_program(world, std::vector<std::string>(argv + 1, argv + argc));
  });
}
