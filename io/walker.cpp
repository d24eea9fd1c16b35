#include "io/walker.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string_view>
#include <vector>

#include "framework/error.hpp"
#include "framework/timer.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

// A child process whose output is read; killed if it is still alive when this goes away.
class Child {
 public:
  Child(const std::string& program, const std::string& file) : program_(program) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw_errno(errno, "making a pipe for", program, ExitStatus::kSystem);
    }
    output_ = ends[0];
    const int failed = spawn(file, ends[1]);
    ::close(ends[1]);
    if (failed != 0) {
      ::close(output_);
      throw Error(ExitStatus::kSystem,
                  text("cannot run ", program, ": ", std::generic_category().message(failed)));
    }
  }

  ~Child() {
    ::close(output_);
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      wait();
    }
  }

  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Appends what the child prints until it closes its output; false when `deadline` passes first.
  bool read_until(double deadline, std::string& out) const {
    std::vector<char> piece(1 << 16);
    while (true) {
      const double left = std::max(0.0, deadline - now_seconds());
      pollfd wanted{output_, POLLIN, 0};
      const int ready = ::poll(&wanted, 1, static_cast<int>(left * 1000));
      if (ready == 0) {
        return false;
      }
      const ssize_t got = ready < 0 ? -1 : ::read(output_, piece.data(), piece.size());
      if (got == 0) {
        return true;
      }
      if (got < 0 && errno != EINTR) {
        throw_errno(errno, "reading from", program_, ExitStatus::kSystem);
      }
      out.append(piece.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    }
  }

  // The status that waitpid gives.
  int wait() {
    int status = 0;
    while (::waitpid(process_, &status, 0) < 0) {
      if (errno != EINTR) {
        process_ = -1;
        throw_errno(errno, "waiting for", program_, ExitStatus::kSystem);
      }
    }
    process_ = -1;
    return status;
  }

 private:
  int spawn(const std::string& file, int output) {
    std::vector<char*> environment;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string_view name = *entry;
      if (!name.starts_with("OMPI_") && !name.starts_with("PMIX_") && !name.starts_with("PMI_")) {
        environment.push_back(*entry);
      }
    }
    environment.push_back(nullptr);
    std::string program = program_, argument = file;
    std::array<char*, 3> arguments = {program.data(), argument.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    const int failed = ::posix_spawn(&process_, program_.c_str(), &actions, nullptr,
                                     arguments.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    return failed;
  }

  const std::string& program_;
  int output_ = -1;
  pid_t process_ = -1;
};

std::string first_line(const std::string& output) {
  const auto begin = output.find_first_not_of('\n');
  return begin == std::string::npos ? "" : output.substr(begin, output.find('\n', begin) - begin);
}

[[noreturn]] void explain(const std::string& file, const std::string& program, int status,
                          const std::string& output) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const bool slow = signal == SIGXCPU || signal == SIGALRM;
    throw Error(ExitStatus::kBadData,
                slow ? text(file,
                            ": damaged: the HDF5 library did not find its way through its "
                            "structure in 120 s")
                     : text(file, ": damaged: the HDF5 library crashed on its structure (signal ",
                            signal, ")"));
  }
  constexpr int kCannotExecute = 126, kNotFound = 127;
  switch (const int code = WEXITSTATUS(status)) {
    case static_cast<int>(ExitStatus::kBadData):
    case static_cast<int>(ExitStatus::kNoInput):
    case static_cast<int>(ExitStatus::kNoPermission):
    case static_cast<int>(ExitStatus::kIoFailed):
      throw Error(static_cast<ExitStatus>(code), first_line(output));
    case kCannotExecute:
    case kNotFound:
      throw Error(ExitStatus::kSystem, text("cannot run ", program, ": ", first_line(output)));
    default:
      throw Error(ExitStatus::kBadData,
                  text(file, ": damaged: the HDF5 library crashed on its structure (exit status ",
                       code, ")"));
  }
}

}  // namespace

std::string find_walker() {
  std::error_code failed;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failed).parent_path();
  const std::array<fs::path, 3> places = {folder, folder / "../libexec/espalier",
                                          ESPALIER_LIBEXEC_DIR};
  for (const fs::path& place : places) {
    const std::string program = (place / "espalier-walk").lexically_normal().string();
    if (::access(program.c_str(), X_OK) == 0) {
      return program;
    }
  }
  throw Error(ExitStatus::kSystem,
              text("espalier-walk, which looks at a file first, is neither in ", folder.string(),
                   " nor in ", ESPALIER_LIBEXEC_DIR, ": the installation is not complete"));
}

std::string run_walker(const std::string& program, const std::string& file, double seconds) {
  Child child(program, file);
  std::string output;
  if (!child.read_until(now_seconds() + seconds, output)) {
    throw Error(ExitStatus::kBadData,
                text(file,
                     ": damaged: the HDF5 library did not find its way through its structure "
                     "in ",
                     seconds, " s"));
  }
  const int status = child.wait();
  if (status != 0) {
    explain(file, program, status, output);
  }
  return output.substr(output.rfind('\n') + 1);
}

}  // namespace espalier::io
