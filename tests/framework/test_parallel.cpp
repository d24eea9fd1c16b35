// label: threads
#include <sched.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "framework/error.hpp"
#include "framework/parallel.hpp"

BOOST_AUTO_TEST_SUITE(framework_parallel)

using namespace espalier;

namespace {

struct WithThreads {
  explicit WithThreads(int count) { set_threads(count); }
  ~WithThreads() { set_threads(1); }
};

}  // namespace

BOOST_AUTO_TEST_CASE(threads_are_set_and_at_least_one) {
  BOOST_TEST(threads() == 1);
  const WithThreads four(4);
  BOOST_TEST(threads() == 4);
  BOOST_CHECK_THROW(set_threads(0), BugError);
  BOOST_TEST(threads() == 4);
}

BOOST_AUTO_TEST_CASE(every_item_runs_once) {
  for (const int team : {1, 2, 4, 7}) {
    const WithThreads with(team);
    for (const std::int64_t count : {0, 1, 2, 3, 1000}) {
      std::vector<int> runs(static_cast<std::size_t>(count), 0);
      std::atomic<bool> threads_in_range{true};
      parallel_for(count, [&](std::int64_t item, int thread) {
        ++runs[static_cast<std::size_t>(item)];
        if (thread < 0 || thread >= team) {
          threads_in_range = false;
        }
      });
      BOOST_TEST(runs == std::vector<int>(static_cast<std::size_t>(count), 1),
                 boost::test_tools::per_element());
      BOOST_TEST(threads_in_range.load());
    }
  }
  BOOST_CHECK_THROW(parallel_for(-1, [](std::int64_t, int) {}), BugError);
}

BOOST_AUTO_TEST_CASE(a_thread_number_is_never_used_twice_at_a_time) {
  const WithThreads four(4);
  // Plain counters: a shared number would lose counts here, and ThreadSanitizer would see it.
  std::vector<std::int64_t> sums(4, 0);
  parallel_for(10'000, [&](std::int64_t item, int thread) {
    sums[static_cast<std::size_t>(thread)] += item;
  });
  BOOST_TEST(sums[0] + sums[1] + sums[2] + sums[3] == 10'000LL * 9'999 / 2);
}

BOOST_AUTO_TEST_CASE(several_threads_work_at_the_same_time) {
  const WithThreads two(2);
  // Each item waits for the other to begin, which only two threads can do.
  std::atomic<int> begun{0};
  std::atomic<bool> together{true};
  parallel_for(2, [&](std::int64_t, int) {
    ++begun;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (begun < 2) {
      if (std::chrono::steady_clock::now() > limit) {
        together = false;
        return;
      }
      std::this_thread::yield();
    }
  });
  BOOST_TEST(together.load());
}

BOOST_AUTO_TEST_CASE(an_exception_arrives_after_all_threads_have_stopped) {
  for (const int team : {1, 2, 4}) {
    const WithThreads with(team);
    std::atomic<int> running{0};
    std::string message;
    try {
      parallel_for(100, [&](std::int64_t item, int) {
        ++running;
        if (item == 17) {
          --running;
          throw std::runtime_error("item 17");
        }
        --running;
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
      BOOST_TEST(running.load() == 0);
    }
    BOOST_TEST(message == "item 17");
  }
}

BOOST_AUTO_TEST_CASE(of_many_exceptions_one_arrives_and_the_rest_is_skipped) {
  for (const int team : {1, 2, 4}) {
    const WithThreads with(team);
    std::atomic<std::int64_t> ran{0};
    BOOST_CHECK_THROW(parallel_for(1'000'000,
                                   [&](std::int64_t item, int) {
                                     ++ran;
                                     throw Error(ExitStatus::kBadData, text("item ", item));
                                   }),
                      Error);
    BOOST_TEST(ran.load() >= 1);
    BOOST_TEST(ran.load() <= team);
  }
}

BOOST_AUTO_TEST_CASE(what_is_no_std_exception_arrives_too) {
  const WithThreads two(2);
  BOOST_CHECK_THROW(parallel_for(5, [](std::int64_t, int) { throw 7; }), int);
}

BOOST_AUTO_TEST_CASE(nesting_is_our_bug_at_every_number_of_threads) {
  for (const int team : {1, 2}) {
    const WithThreads with(team);
    BOOST_CHECK_THROW(
        parallel_for(2, [](std::int64_t, int) { parallel_for(1, [](std::int64_t, int) {}); }),
        BugError);
    int runs = 0;
    parallel_for(1, [&](std::int64_t, int) { ++runs; });
    BOOST_TEST(runs == 1, "a failed call does not spoil the next one");
  }
}

BOOST_AUTO_TEST_CASE(usable_cores_follows_the_affinity_mask) {
  cpu_set_t before;
  BOOST_TEST_REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  BOOST_TEST(usable_cores() == CPU_COUNT(&before));
  int first = 0;
  while (!CPU_ISSET(first, &before)) {
    ++first;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  BOOST_TEST_REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  BOOST_TEST(usable_cores() == 1);
  BOOST_TEST(sched_setaffinity(0, sizeof before, &before) == 0);
}

BOOST_AUTO_TEST_SUITE_END()
