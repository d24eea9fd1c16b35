// Requests to stop or save: whoever gets them, all ranks do the same.
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "framework/stop.hpp"

using namespace espalier;

namespace {

const Comm& world() {
  static const Comm comm(MPI_COMM_WORLD);
  return comm;
}

bool last() { return world().rank() == world().ranks() - 1; }

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stop)

BOOST_AUTO_TEST_CASE(nobody_asks) {
  StopControl control({});
  BOOST_TEST((control.next_order(world(), false) == Order::kGoOn));
  BOOST_TEST(!control.gives_up_unit());
}

BOOST_AUTO_TEST_CASE(a_signal_on_one_rank_stops_all) {
  const std::pair<int, const char*> signals[] = {
      {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGUSR2, "SIGUSR2"}};
  for (const auto& [number, name] : signals) {
    StopControl control({});
    if (last()) {
      std::raise(number);
    }
    BOOST_TEST((control.next_order(world(), false) == Order::kStop));
    BOOST_TEST(control.reason() == name);
    BOOST_TEST(!control.gives_up_unit());
  }
}

BOOST_AUTO_TEST_CASE(usr1_and_full_memory_save_once) {
  StopControl control({});
  if (last()) {
    std::raise(SIGUSR1);
  }
  BOOST_TEST((control.next_order(world(), false) == Order::kSave));
  control.note_saved(0.01);
  BOOST_TEST((control.next_order(world(), false) == Order::kGoOn));
  BOOST_TEST((control.next_order(world(), last()) == Order::kSave));
}

BOOST_AUTO_TEST_CASE(the_interval_saves) {
  StopControl control({0.05, {}, {}});
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  BOOST_TEST((control.next_order(world(), false) == Order::kSave));
  control.note_saved(0.001);
}

BOOST_AUTO_TEST_CASE(limits_stop_while_a_unit_and_a_save_still_fit) {
  {
    StopControl control({60, 3600.0, unix_now() + 3600});
    BOOST_TEST((control.next_order(world(), false) == Order::kGoOn));
    control.note_saved(7200);  // a save takes longer than what is left
    BOOST_TEST((control.next_order(world(), false) == Order::kStop));
    BOOST_TEST(control.reason() == "--max-time");
    BOOST_TEST(control.gives_up_unit());
    BOOST_TEST(control.own_reason() == "--max-time");
  }
  StopControl control({60, {}, unix_now() + 0.2});
  BOOST_TEST((control.next_order(world(), false) == Order::kStop));
  BOOST_TEST(control.reason().find("Slurm") != std::string::npos);
  BOOST_TEST(control.own_reason() == control.reason());
}

BOOST_AUTO_TEST_CASE(signals_do_not_kill_what_is_ending) {
  {
    StopControl control({});
    std::raise(SIGTERM);
    BOOST_TEST((control.next_order(world(), false) == Order::kStop));
  }
  BOOST_TEST(std::raise(SIGTERM) == 0);
  { const StopControl finished({}); }
  for (const int number : {SIGTERM, SIGUSR1, SIGUSR2, SIGINT}) {
    BOOST_TEST(std::raise(number) == 0);
  }
  // Whoever listens next has been asked for nothing.
  StopControl control({});
  BOOST_TEST((control.next_order(world(), false) == Order::kGoOn));
}

BOOST_AUTO_TEST_SUITE_END()
