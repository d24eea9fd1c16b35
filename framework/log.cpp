#include "framework/log.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <mutex>
#include <system_error>

#include "framework/error.hpp"
#include "framework/provenance.hpp"
#include "framework/timer.hpp"

namespace espalier {
namespace {

constexpr double kBarSeconds = 0.2;
constexpr double kLineSeconds = 30;
constexpr std::size_t kBarWidth = 24;
constexpr const char* kClearLine = "\r\033[K";

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

struct Log {
  std::mutex mutex;
  int rank = 0;
  Verbosity verbosity = Verbosity::kNormal;
  std::unique_ptr<std::FILE, CloseFile> file;
  bool bar_on_screen = false;
};

Log& the_log() {
  static Log log;
  return log;
}

// Each line goes out in one call, so that lines of several processes do not mix.
void print(std::string_view whole) { std::fwrite(whole.data(), 1, whole.size(), stderr); }

void write_line(std::string_view kind, std::string_view line, bool on_screen) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  if (log.file) {
    const std::string whole = text(utc_now(), " ", kind, " ", line, "\n");
    std::fwrite(whole.data(), 1, whole.size(), log.file.get());
    std::fflush(log.file.get());
  }
  if (on_screen && log.rank == 0) {
    print(text(log.bar_on_screen ? kClearLine : "", line, "\n"));
    log.bar_on_screen = false;
  }
}

std::size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// A bar and the line, cut to the terminal's width: a wrapped line could not be overwritten.
void draw_bar(std::string_view line, double share, bool last) {
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(kBarWidth));
  std::string whole =
      text("[", std::string(filled, '#'), std::string(kBarWidth - filled, '.'), "] ", line);
  whole.resize(std::min(whole.size(), terminal_width() - 1));
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  print(text(kClearLine, whole, last ? "\n" : ""));
  log.bar_on_screen = !last;
}

std::string three_digits(double number) {
  const int decimals = number >= 100 ? 0 : number >= 10 ? 1 : 2;
  char spelled[64];
  std::snprintf(spelled, sizeof spelled, "%.*f", decimals, number);
  return spelled;
}

double share_of(std::int64_t so_far, std::int64_t total) {
  return total <= 0
             ? 1.0
             : std::clamp(static_cast<double>(so_far) / static_cast<double>(total), 0.0, 1.0);
}

}  // namespace

void start_log(int rank, Verbosity verbosity, const std::string& log_dir) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  log.rank = rank;
  log.verbosity = verbosity;
  log.file.reset();
  if (log_dir.empty()) {
    return;
  }
  std::error_code error;
  std::filesystem::create_directories(log_dir, error);
  if (error) {
    throw_errno(error.value(), "creating the log directory", log_dir, ExitStatus::kCannotCreate);
  }
  char name[32];
  std::snprintf(name, sizeof name, "/rank-%04d.log", rank);
  log.file.reset(std::fopen((log_dir + name).c_str(), "a"));
  if (!log.file) {
    throw_errno(errno, "opening the log file", log_dir + name, ExitStatus::kCannotCreate);
  }
}

void log_info(std::string_view line) {
  write_line("info", line, the_log().verbosity != Verbosity::kQuiet);
}

void log_detail(std::string_view line) {
  write_line("detail", line, the_log().verbosity == Verbosity::kVerbose);
}

void log_warning(std::string_view line) { write_line("warning", text("warning: ", line), true); }

std::string spelled_duration(double seconds) {
  const auto whole = static_cast<long long>(std::llround(std::max(0.0, seconds)));
  char spelled[64];
  if (whole < 60) {
    std::snprintf(spelled, sizeof spelled, "%lld s", whole);
  } else if (whole < 3600) {
    std::snprintf(spelled, sizeof spelled, "%lld:%02lld min", whole / 60, whole % 60);
  } else {
    std::snprintf(spelled, sizeof spelled, "%lld:%02lld:%02lld h", whole / 3600, whole / 60 % 60,
                  whole % 60);
  }
  return spelled;
}

std::string progress_line(std::string_view what, std::string_view unit, std::int64_t so_far,
                          std::int64_t total, double elapsed_seconds) {
  const double percent = std::floor(100 * share_of(so_far, total));
  std::string line = text(what, ": ", so_far, " of ", total, " ", unit, " (", percent, " %)");
  if (so_far > 0 && elapsed_seconds > 0) {
    const double rate = static_cast<double>(so_far) / elapsed_seconds;
    line += text(", ", three_digits(rate), " ", unit, "/s, ");
    line += so_far < total
                ? text(spelled_duration(static_cast<double>(total - so_far) / rate), " left")
                : text("took ", spelled_duration(elapsed_seconds));
  }
  return line;
}

Progress::Progress(std::string_view what, std::int64_t total, std::string_view unit)
    : what_(what),
      unit_(unit),
      total_(total),
      start_(now_seconds()),
      last_shown_(start_),
      terminal_(the_log().rank == 0 && the_log().verbosity != Verbosity::kQuiet &&
                isatty(STDERR_FILENO) == 1) {
  expects(total >= 0, "the total of a progress is not negative");
}

Progress::~Progress() {
  if (shown_) {
    show(true);
  }
}

void Progress::done(std::int64_t so_far) {
  so_far_ = so_far;
  const double now = now_seconds();
  if (now - last_shown_ < (terminal_ ? kBarSeconds : kLineSeconds)) {
    return;
  }
  last_shown_ = now;
  shown_ = true;
  show(false);
}

void Progress::show(bool last) {
  const std::string line = progress_line(what_, unit_, so_far_, total_, now_seconds() - start_);
  if (terminal_) {
    draw_bar(line, share_of(so_far_, total_), last);
  } else {
    write_line("progress", line, the_log().verbosity != Verbosity::kQuiet);
  }
}

}  // namespace espalier
