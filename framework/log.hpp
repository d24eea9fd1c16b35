// What the program says while it works: stderr, rank 0 only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace espalier {

enum class Verbosity { kQuiet, kNormal, kVerbose };

// Set once at start. On ranks other than 0 everything below is silent. With a directory, each rank
// also appends every line (verbose ones too) to DIR/rank-NNNN.log.
// The directory is created if need be.
//   throws   Error(kCannotCreate, kNoPermission) if the log file cannot be opened
void start_log(int rank, Verbosity verbosity, const std::string& log_dir);

void log_info(std::string_view line);     // unless --quiet
void log_detail(std::string_view line);   // only --verbose
void log_warning(std::string_view line);  // always, prefixed "warning: "

// "42 s", "3:05 min", "26:03:05 h".
std::string spelled_duration(double seconds);

// What Progress says: "computing: 53 of 120 layers (44 %), 3.20 layers/s, 21 s left".
std::string progress_line(std::string_view what, std::string_view unit, std::int64_t so_far,
                          std::int64_t total, double elapsed_seconds);

// Progress of one long phase with rate and time left: a bar on a terminal, otherwise a line at
// most every 30 s. Costs a clock read per call.
class Progress {
 public:
  // `unit` is what is counted ("layers", "samples"); total >= 0.
  Progress(std::string_view what, std::int64_t total, std::string_view unit);
  ~Progress();  // ends the line
  void done(std::int64_t so_far);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void show(bool last);

  std::string what_, unit_;
  std::int64_t total_, so_far_ = 0;
  double start_, last_shown_;
  bool terminal_, shown_ = false;
};

}  // namespace espalier
