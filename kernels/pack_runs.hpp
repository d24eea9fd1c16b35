// Short runs of weights, looked through and interleaved by the widest vectors the machine has.
#pragma once

#include <cstdint>

namespace espalier::kernels {

// How many of `count` ascending indices lie below `limit`.
std::int64_t count_below(const std::uint32_t* indices, std::int64_t count, std::uint32_t limit);

// `count` weights of two rows as they lie in CSR, and the input that index 0 stands for.
struct RunPair {
  const std::uint32_t* indices[2];
  const float* values[2];  // not read where `to_values` is null
  std::int64_t count;
  std::uint32_t first_input;
};

// Writes both rows' weights alternating.
//   shapes   to_indices, to_values (2 x run.count); to_values may be null
void interleave(const RunPair& run, std::uint16_t* to_indices, float* to_values);

}  // namespace espalier::kernels
