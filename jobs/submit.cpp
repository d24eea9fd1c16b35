#include "jobs/submit.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>

#include "framework/error.hpp"

namespace espalier::jobs {

bool asks_to_submit(int argc, char** argv) {
  return argc > 1 && std::string_view(argv[1]) == "submit";
}

int submit(char** argv) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path folder = program.parent_path();
  fs::path script = folder / "cluster" / "submit.sh";
  if (!fs::exists(script, error)) {
    script = folder.parent_path() / "libexec" / "espalier" / "cluster" / "submit.sh";
  }
  ::setenv("espalier_program", program.c_str(), 1);
  std::string name = script.string();
  argv[1] = name.data();
  ::execv(name.c_str(), argv + 1);
  const std::string line =
      text("espalier: submit: cannot start ", name, ": ", std::strerror(errno), "\n");
  std::fputs(line.c_str(), stderr);
  return static_cast<int>(ExitStatus::kSystem);
}

}  // namespace espalier::jobs
