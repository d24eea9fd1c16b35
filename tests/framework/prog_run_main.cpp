// A program that ends in the way its first argument names, for test_run_main.py.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "framework/agree.hpp"
#include "framework/comm.hpp"
#include "framework/error.hpp"
#include "framework/runtime.hpp"
#include "framework/timer.hpp"
#include "framework/watchdog.hpp"

namespace {

using espalier::Comm;
using espalier::Error;
using espalier::ExitStatus;

// Runs `fail` on the last rank; the others wait for it in a collective call.
void fail_on_last(const Comm& world, const std::function<void()>& fail) {
  if (world.rank() == world.ranks() - 1) {
    fail();
  }
  world.barrier();
}

void shared(const Comm& world) {
  espalier::locally(world, "reading shard", [&] {
    if (world.rank() == world.ranks() - 1) {
      throw Error(ExitStatus::kNoInput, "layer 7 is missing");
    }
  });
}

// All ranks but rank 0 know; rank 0 waits for them.
void shared_by_some(const Comm& world) {
  const Comm part = world.split(world.rank() == 0 ? 0 : 1, world.rank());
  if (world.rank() > 0) {
    espalier::agree(part, "reading", espalier::Failure{ExitStatus::kBadData, "damaged shard"});
  }
  world.barrier();
}

const std::map<std::string, std::function<void(const Comm&)>> kEndings = {
    {"done", [](const Comm&) {}},
    {"shared", shared},
    {"shared_by_some", shared_by_some},
    {"error",
     [](const Comm& world) {
       fail_on_last(world, [] { throw Error(ExitStatus::kIoFailed, "the disk is full"); });
     }},
    {"bug",
     [](const Comm& world) {
       fail_on_last(world, [] { espalier::expects(false, "rows are sorted"); });
     }},
    {"memory", [](const Comm& world) { fail_on_last(world, [] { throw std::bad_alloc(); }); }},
    {"surprise",
     [](const Comm& world) { fail_on_last(world, [] { throw std::out_of_range("index 7"); }); }},
    {"hangs",
     [](const Comm& world) {
       const espalier::Watchdog watchdog(world.rank(), 1.0);
       for (int step = 0; step < 15; ++step) {
         std::this_thread::sleep_for(std::chrono::milliseconds(100));
         espalier::agree(world, "working", std::nullopt);
       }
       if (world.rank() == world.ranks() - 1) {
         espalier::PhaseTimes times;
         const espalier::PhaseTimer timer(times, espalier::Phase::kRead);
         std::this_thread::sleep_for(std::chrono::seconds(60));
       }
       world.barrier();
     }},
    {"environment",
     [](const Comm&) {
       const char* const found = std::getenv("OMPI_MCA_pml");
       std::printf("%s, ", found == nullptr ? "nothing" : found);
     }},
    {"unknown", [](const Comm& world) { fail_on_last(world, [] { throw 7; }); }},
};

ExitStatus story(const std::string& ending, const Comm& world) {
  if (ending == "stopped") {
    return ExitStatus::kStoppedEarly;
  }
  kEndings.at(ending)(world);
  // Not flushed on purpose: the end of the program must do that.
  if (world.rank() == 0) {
    std::printf("done on %d ranks", world.ranks());
  }
  return ExitStatus::kDone;
}

}  // namespace

int main(int argc, char** argv) {
  return espalier::run_main(
      argc, argv, [&](const Comm& world) { return story(argc > 1 ? argv[1] : "done", world); });
}
