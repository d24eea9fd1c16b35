#include "jobs/submit.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>

#include "framework/error.hpp"
#include "jobs/pages.hpp"

namespace espalier::jobs {
namespace {

// Becomes cluster/NAME.sh, found beside the program or in libexec, with what follows NAME.
//   returns  the exit status if that is not possible, having said why
int become_script(char** argv) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::string job = argv[1];
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path folder = program.parent_path();
  fs::path script = folder / "cluster" / (job + ".sh");
  if (!fs::exists(script, error)) {
    script = folder.parent_path() / "libexec" / "espalier" / "cluster" / (job + ".sh");
  }
  ::setenv("espalier_program", program.c_str(), 1);
  std::string name = script.string();
  argv[1] = name.data();
  ::execv(name.c_str(), argv + 1);
  const std::string line =
      text("espalier: ", job, ": cannot start ", name, ": ", std::strerror(errno), "\n");
  std::fputs(line.c_str(), stderr);
  return static_cast<int>(ExitStatus::kSystem);
}

int print_page(const std::string& page) {
  const bool printed =
      std::fwrite(page.data(), 1, page.size(), stdout) == page.size() && std::fflush(stdout) == 0;
  return static_cast<int>(printed ? ExitStatus::kDone : ExitStatus::kIoFailed);
}

}  // namespace

std::optional<int> run_without_mpi(int argc, char** argv) {
  const std::string_view asked = argc > 1 ? argv[1] : "";
  const auto scripts = script_jobs();
  if (std::any_of(scripts.begin(), scripts.end(),
                  [&](const auto& script) { return script.first == asked; })) {
    return become_script(argv);
  }
  if (argc == 2 && asked == "--manual") {
    return print_page(manual_page(all_jobs()));
  }
  if (argc == 2 && asked == "--completion") {
    return print_page(bash_completion(all_jobs()));
  }
  return std::nullopt;
}

}  // namespace espalier::jobs
