// The categories of a result beside known ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "framework/shard.hpp"

namespace espalier::jobs {

// Those of `samples` that are alive.
//   shapes   alive (samples)
std::vector<std::int64_t> alive_ids(Range samples, const std::vector<std::uint8_t>& alive);

// What messages name.
struct TruthFiles {
  std::string result, truth;
};

// Compares this rank's part of the categories, those of `samples`, with the truth, both 0-based and
// ascending.
//   where    collective over `world`
//   throws   SharedError(kBadData) with counts and the first differing sample
void compare_with_truth(const Comm& world, const TruthFiles& files, Range samples,
                        const std::vector<std::int64_t>& mine,
                        const std::vector<std::int64_t>& truth);

}  // namespace espalier::jobs
