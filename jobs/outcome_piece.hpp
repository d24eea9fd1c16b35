// What is kept of consecutive samples, and how it lies in a record of finished units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "framework/shard.hpp"

namespace espalier::jobs {

struct OutcomeOptions {
  std::int64_t top_k = 0;  // 0: none
  bool full = false;       // all non-zero outputs
};

//   shapes   alive (samples); top_index, top_value (samples x top_k); pointers (samples + 1, from
//            0), indices and values of the full output: empty without it
struct OutcomePiece {
  Range samples;  // global
  std::vector<std::uint8_t> alive;
  std::vector<std::int64_t> top_index;
  std::vector<float> top_value;
  std::vector<std::int64_t> pointers;
  std::vector<std::uint32_t> indices;
  std::vector<float> values;
};

// The arrays one after the other, in the order above, as they lie in memory (little-endian).
std::vector<std::byte> pack_outcome(const OutcomePiece& piece);

// The reverse, for the samples and options it was packed with.
//   throws   BugError if the length does not fit
OutcomePiece unpack_outcome(Range samples, const OutcomeOptions& options,
                            std::vector<std::byte> bytes);

// How many non-zero outputs a piece of that length holds.
std::int64_t nnz_of_outcome(Range samples, const OutcomeOptions& options, std::int64_t bytes);

}  // namespace espalier::jobs
