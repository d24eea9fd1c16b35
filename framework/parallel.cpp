#include "framework/parallel.hpp"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <memory>
#include <thread>

#include "framework/error.hpp"

namespace espalier {
namespace {

std::atomic<int> chosen_threads{1};

// Keeps the first exception of a team of threads.
class FirstFailure {
 public:
  bool happened() const noexcept { return happened_.load(std::memory_order_relaxed); }

  void keep(std::exception_ptr failure) {
    if (!happened_.exchange(true)) {
      failure_ = std::move(failure);
    }
  }

  // Only after the threads have joined.
  void rethrow() const {
    if (failure_) {
      std::rethrow_exception(failure_);
    }
  }

 private:
  std::atomic<bool> happened_{false};
  std::exception_ptr failure_;
};

thread_local bool inside_work = false;

// Marks the calling thread as one that runs `work`.
class InsideWork {
 public:
  InsideWork() { inside_work = true; }
  ~InsideWork() { inside_work = false; }
  InsideWork(const InsideWork&) = delete;
  InsideWork& operator=(const InsideWork&) = delete;
};

}  // namespace

int usable_cores() {
  // The mask must have room for all cores the kernel knows: widen it until it has.
  for (int cores = 1024; cores <= 1 << 20; cores *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> mask(
        CPU_ALLOC(static_cast<std::size_t>(cores)), [](cpu_set_t* set) { CPU_FREE(set); });
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cores));
    if (mask && sched_getaffinity(0, bytes, mask.get()) == 0) {
      return std::max(1, CPU_COUNT_S(bytes, mask.get()));
    }
    if (errno != EINVAL) {
      break;
    }
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void set_threads(int threads) {
  expects(threads >= 1, "the number of threads is at least 1");
  chosen_threads = threads;
}

int threads() { return chosen_threads; }

void parallel_for(std::int64_t count, const std::function<void(std::int64_t, int)>& work) {
  // A nested team would number its threads from 0 again: two calls could share a thread's place.
  expects(!inside_work, "parallel_for is not called from inside its own work");
  expects(count >= 0, "the number of items is not negative");
  const int team = static_cast<int>(std::min<std::int64_t>(threads(), count));
  if (team <= 1) {
    const InsideWork inside;
    for (std::int64_t item = 0; item < count; ++item) {
      work(item, 0);
    }
    return;
  }
  FirstFailure failure;
#pragma omp parallel for schedule(dynamic, 1) num_threads(team) default(shared)
  for (std::int64_t item = 0; item < count; ++item) {
    if (failure.happened()) {
      continue;
    }
    const InsideWork inside;
    try {
      work(item, omp_get_thread_num());
    } catch (...) {
      failure.keep(std::current_exception());
    }
  }
  failure.rethrow();
}

}  // namespace espalier
