// Notices a rank that hangs: no progress for too long ends the job instead of waiting for ever.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace espalier {

// This rank has got further: an agreement was reached, a layer is done. One atomic addition; any
// thread.
void note_progress() noexcept;

// While it lives, a thread of its own looks whether note_progress was called within
// `timeout_seconds`. If not, it prints "espalier: rank r has made no progress for … in phase …" and
// ends the process with 71, upon which the launcher ends the others. Ranks that wait for the one
// that hangs say so too: the one that is silent, or in another phase, is the culprit.
class Watchdog {
 public:
  // `timeout_seconds` > 0; infinity: it looks at nothing and starts no thread.
  Watchdog(int rank, double timeout_seconds);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch();

  int rank_;
  double timeout_seconds_;
  std::mutex mutex_;
  std::condition_variable over_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace espalier
