// Which weights of one layer have the largest keys.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "framework/comm.hpp"

namespace espalier::jobs {

// Which weights of a layer stay: those with keys above `key`, and of each of this rank's rounds as
// many of the equal ones as are listed, in order.
struct LayerCut {
  std::uint32_t key = 0;
  std::vector<std::int64_t> equals;
};
// The cut that keeps the `keep` largest keys of a layer, the lower (row, column) first among
// equals. Keys that are 0 stand for nothing.
//   where    collective; `keys(round)` is local, asked for several times
LayerCut exchange_cut(
    const Comm& comm, std::int64_t rounds, std::int64_t keep,
    const std::function<std::span<const std::uint32_t>(std::int64_t round)>& keys);

}  // namespace espalier::jobs
