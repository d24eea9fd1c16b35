// Stopping in time: signals, time limits, and what all ranks do about them (framework/DESIGN.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "framework/comm.hpp"

namespace espalier {

struct StopOptions {
  double save_interval_seconds = 60;    // 0: after every unit
  std::optional<double> max_seconds;    // since the program started
  std::optional<double> end_unix_time;  // the scheduler's SLURM_JOB_END_TIME
};

// SLURM_JOB_END_TIME of this process, if it is a number.
std::optional<double> slurm_end_time();

// What ranks do after a unit of work.
enum class Order { kGoOn, kSave, kStop };

// While it lives, USR1 asks for a save; TERM, INT and USR2 ask for a stop; a second INT ends the
// process as INT does. Handlers only set flags, and stay when the object has gone: the process is
// about to end, and a signal then, perhaps a scheduler's second, must not turn the status of a
// finished job into that of a killed one. One object at a time.
class StopControl {
 public:
  explicit StopControl(const StopOptions& options);
  ~StopControl();
  StopControl(const StopControl&) = delete;
  StopControl& operator=(const StopControl&) = delete;

  // What all ranks do now, the same on each: stop if any has been asked to, or if another unit, as
  // long as the longest so far, and a save do not fit into the time; save if any was asked to, or
  // if the interval has passed. Call it after every unit.
  // `wants_save` asks for a save, too.
  //   where    collective over `comm`
  //   cost     one allreduce of one byte
  Order next_order(const Comm& comm, bool wants_save);

  // Called after each save with what it took; the interval starts anew. Local.
  void note_saved(double seconds);

  // Whether the unit at hand is to be given up: the request to stop has waited for some seconds, or
  // the time is over. Ranks may see it at different moments. Local.
  bool gives_up_unit() const;
  // Whether the request alone says so, whatever the time. Local.
  bool request_waits() const;

  // Why gives_up_unit() said so on this rank, spelled as reason(). Local.
  std::string own_reason() const;

  // Why next_order said kStop: "SIGTERM", "--max-time"; the same on every rank.
  const std::string& reason() const noexcept { return reason_; }

 private:
  double seconds_left() const;  // until the nearer of both limits

  StopOptions options_;
  double unit_started_, last_saved_;
  double longest_unit_ = 0, save_seconds_ = 0;
  std::string reason_;
};

}  // namespace espalier
