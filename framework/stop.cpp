#include "framework/stop.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <span>

#include "framework/error.hpp"
#include "framework/timer.hpp"

namespace espalier {
namespace {

// From the request to stop until a unit is given up: with the save it stays within 10 s.
constexpr double kGraceSeconds = 4;
// Between the last save and the end of the process: closing files, ending MPI.
constexpr double kEndSeconds = 0.5;

constexpr std::array kSignals = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};

const double kProgramStart = now_seconds();

std::atomic<int> save_asked{0}, stop_signal{0};
std::atomic<std::int64_t> stop_nanoseconds{0};
static_assert(std::atomic<std::int64_t>::is_always_lock_free);
bool controlled = false;

std::int64_t monotonic_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

extern "C" void note_signal(int number) {
  if (number == SIGUSR1) {
    save_asked = 1;
    return;
  }
  const int first = stop_signal.exchange(number);
  if (first == SIGINT && number == SIGINT) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
    return;
  }
  if (first == 0) {
    stop_nanoseconds = monotonic_nanoseconds();
  }
}

// What one rank tells the others, as bits.
enum Bit : std::uint8_t {
  kSaveDue = 1,
  kMaxTime = 2,
  kSchedulerTime = 4,
  kTerm = 8,
  kInterrupt = 16,
  kUser2 = 32
};

std::uint8_t bit_of_signal(int number) {
  switch (number) {
    case 0:
      return 0;
    case SIGTERM:
      return kTerm;
    case SIGINT:
      return kInterrupt;
    default:
      return kUser2;
  }
}

std::string spelled_reason(std::uint8_t bits) {
  return (bits & kTerm) != 0        ? "SIGTERM"
         : (bits & kInterrupt) != 0 ? "SIGINT"
         : (bits & kUser2) != 0     ? "SIGUSR2"
         : (bits & kMaxTime) != 0   ? "--max-time"
                                    : "the end of the Slurm job's time";
}

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

constexpr double kForever = std::numeric_limits<double>::infinity();

}  // namespace

std::optional<double> slurm_end_time() {
  const char* spelled = std::getenv("SLURM_JOB_END_TIME");
  char* end = nullptr;
  const double seconds = spelled == nullptr ? 0 : std::strtod(spelled, &end);
  return spelled != nullptr && end != spelled && *end == '\0' && std::isfinite(seconds)
             ? std::optional(seconds)
             : std::nullopt;
}

StopControl::StopControl(const StopOptions& options)
    : options_(options), unit_started_(now_seconds()), last_saved_(unit_started_) {
  expects(!controlled, "one object at a time listens to signals");
  controlled = true;
  save_asked = 0;
  stop_signal = 0;
  stop_nanoseconds = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int number : kSignals) {
    sigaction(number, &action, nullptr);
  }
}

StopControl::~StopControl() { controlled = false; }

double StopControl::seconds_left() const {
  const double own =
      options_.max_seconds ? kProgramStart + *options_.max_seconds - now_seconds() : kForever;
  const double scheduler = options_.end_unix_time ? *options_.end_unix_time - unix_now() : kForever;
  return std::min(own, scheduler);
}

Order StopControl::next_order(const Comm& comm, bool wants_save) {
  const double now = now_seconds();
  longest_unit_ = std::max(longest_unit_, now - unit_started_);
  const double needed = longest_unit_ + save_seconds_ + kEndSeconds;
  std::uint8_t bits = bit_of_signal(stop_signal);
  if (options_.max_seconds && kProgramStart + *options_.max_seconds - now < needed) {
    bits |= kMaxTime;
  }
  if (options_.end_unix_time && *options_.end_unix_time - unix_now() < needed) {
    bits |= kSchedulerTime;
  }
  if (save_asked.exchange(0) != 0 || wants_save ||
      now - last_saved_ >= options_.save_interval_seconds) {
    bits |= kSaveDue;
  }
  comm.bit_or(std::span(&bits, 1));
  unit_started_ = now_seconds();
  if ((bits & ~kSaveDue) != 0) {
    reason_ = spelled_reason(bits);
    return Order::kStop;
  }
  return bits != 0 ? Order::kSave : Order::kGoOn;
}

void StopControl::note_saved(double seconds) {
  save_seconds_ = std::max(save_seconds_, seconds);
  last_saved_ = unit_started_ = now_seconds();
}

std::string StopControl::own_reason() const {
  std::uint8_t bits = bit_of_signal(stop_signal);
  if (options_.max_seconds &&
      kProgramStart + *options_.max_seconds - now_seconds() < save_seconds_ + kEndSeconds) {
    bits |= kMaxTime;
  }
  return spelled_reason(bits);
}

bool StopControl::request_waits() const {
  return stop_signal != 0 &&
         static_cast<double>(monotonic_nanoseconds() - stop_nanoseconds) * 1e-9 > kGraceSeconds;
}

bool StopControl::gives_up_unit() const {
  return request_waits() || seconds_left() < save_seconds_ + kEndSeconds;
}

}  // namespace espalier
