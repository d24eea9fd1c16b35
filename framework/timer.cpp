#include "framework/timer.hpp"

#include <algorithm>
#include <bit>
#include <chrono>

namespace espalier {

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
