// Wall-clock time by phase, aggregated over ranks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "framework/comm.hpp"

namespace espalier {

// The same five words as in the way of the data.
enum class Phase { kRead, kPack, kCompute, kExchange, kWrite };
inline constexpr std::array<std::string_view, 5> kPhaseNames = {"read", "pack", "compute",
                                                                "exchange", "write"};

double now_seconds();  // monotonic

// What this rank is at, for people: "while it computes", "between two phases". Any thread.
std::string_view current_phase() noexcept;

// Sums the wall time of each phase on this rank.
class PhaseTimes {
 public:
  void add(Phase phase, double seconds) noexcept {
    seconds_[static_cast<std::size_t>(phase)] += seconds;
  }
  double of(Phase phase) const noexcept { return seconds_[static_cast<std::size_t>(phase)]; }

 private:
  std::array<double, kPhaseNames.size()> seconds_{};
};

// Adds its own lifetime to a phase.
class PhaseTimer {
 public:
  PhaseTimer(PhaseTimes& times, Phase phase);
  ~PhaseTimer();
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  PhaseTimes& times_;
  Phase phase_;
  int outer_;  // the phase this one lies within, if any
  double start_;
};

struct Spread {
  double min, mean, max;
};

// Least, mean and largest of one value of every rank.
//   where    collective over `comm`; the same result on every rank
Spread spread_over_ranks(const Comm& comm, double value);

}  // namespace espalier
