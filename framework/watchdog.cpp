#include "framework/watchdog.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "framework/error.hpp"
#include "framework/log.hpp"
#include "framework/timer.hpp"

namespace espalier {
namespace {

std::atomic<std::int64_t> steps{0};

// Ranks notice at about the same time; each gets the chance to speak before the first one's end
// ends all.
constexpr std::chrono::seconds kOthersSpeak{2};

[[noreturn]] void give_up(int rank, double seconds) {
  std::fputs(text("espalier: rank ", rank, " has made no progress for ", spelled_duration(seconds),
                  " ", current_phase(), " (--stall-timeout); the job ends\n")
                 .c_str(),
             stderr);
  std::fflush(stderr);
  std::this_thread::sleep_for(kOthersSpeak);
  std::_Exit(static_cast<int>(ExitStatus::kSystem));
}

}  // namespace

void note_progress() noexcept { steps.fetch_add(1, std::memory_order_relaxed); }

Watchdog::Watchdog(int rank, double timeout_seconds)
    : rank_(rank), timeout_seconds_(timeout_seconds) {
  expects(timeout_seconds > 0, "a watchdog waits for some time");
  if (std::isfinite(timeout_seconds)) {
    thread_ = std::thread([this] { watch(); });
  }
}

Watchdog::~Watchdog() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    over_.notify_all();
    thread_.join();
  }
}

void Watchdog::watch() {
  const std::chrono::duration<double> look(std::clamp(timeout_seconds_ / 10, 0.01, 5.0));
  std::int64_t seen = steps;
  double since = now_seconds();
  std::unique_lock lock(mutex_);
  while (!over_.wait_for(lock, look, [&] { return ended_; })) {
    const std::int64_t now = steps;
    if (now != seen) {
      seen = now;
      since = now_seconds();
    } else if (now_seconds() - since > timeout_seconds_) {
      give_up(rank_, now_seconds() - since);
    }
  }
}

}  // namespace espalier
