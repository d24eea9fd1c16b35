#include <boost/test/unit_test.hpp>
#include <chrono>
#include <thread>

#include "framework/timer.hpp"

BOOST_AUTO_TEST_SUITE(framework_timer)

using namespace espalier;

BOOST_AUTO_TEST_CASE(times_add_up_by_phase) {
  PhaseTimes times;
  times.add(Phase::kRead, 1.5);
  times.add(Phase::kWrite, 2);
  times.add(Phase::kRead, 0.25);
  BOOST_TEST(times.of(Phase::kRead) == 1.75);
  BOOST_TEST(times.of(Phase::kWrite) == 2);
  BOOST_TEST(times.of(Phase::kPack) == 0);
  BOOST_TEST(kPhaseNames[static_cast<std::size_t>(Phase::kExchange)] == "exchange");
}

BOOST_AUTO_TEST_CASE(a_phase_timer_adds_its_lifetime) {
  PhaseTimes times;
  const double before = now_seconds();
  for (int round = 0; round < 2; ++round) {
    const PhaseTimer timer(times, Phase::kCompute);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const double around = now_seconds() - before;
  BOOST_TEST(times.of(Phase::kCompute) >= 0.04);
  BOOST_TEST(times.of(Phase::kCompute) <= around);
}

BOOST_AUTO_TEST_SUITE_END()
