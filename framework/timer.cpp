#include "framework/timer.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>

namespace espalier {
namespace {

constexpr std::array<std::string_view, 5> kPhaseWords = {"while it reads", "while it packs",
                                                         "while it computes", "while it exchanges",
                                                         "while it writes"};
constexpr int kNoPhase = -1;

std::atomic<int> running_phase{kNoPhase};

}  // namespace

std::string_view current_phase() noexcept {
  const int phase = running_phase;
  return phase == kNoPhase ? "between two phases" : kPhaseWords[static_cast<std::size_t>(phase)];
}

PhaseTimer::PhaseTimer(PhaseTimes& times, Phase phase)
    : times_(times),
      phase_(phase),
      outer_(running_phase.exchange(static_cast<int>(phase))),
      start_(now_seconds()) {}

PhaseTimer::~PhaseTimer() {
  times_.add(phase_, now_seconds() - start_);
  running_phase = outer_;
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Spread spread_over_ranks(const Comm& comm, double value) {
  // Gathered and summed in rank order, so that every rank has the same mean to the last bit.
  const auto gathered = comm.gather_all(std::bit_cast<std::int64_t>(value));
  Spread spread{value, 0, value};
  for (const std::int64_t bits : gathered) {
    const double one = std::bit_cast<double>(bits);
    spread.min = std::min(spread.min, one);
    spread.max = std::max(spread.max, one);
    spread.mean += one;
  }
  spread.mean /= comm.ranks();
  return spread;
}

}  // namespace espalier
