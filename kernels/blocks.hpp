// The packed forms of rows. Plain data without functions: code compiled for many targets reads it.
#pragma once

#include <cstdint>
#include <vector>

namespace espalier::kernels {

// Rows of one tile at most: with four vectors of samples each, 16 accumulators hide the latency of
// the multiply-adds and leave half of 32 registers for activations, weights and limits.
inline constexpr int kTileRows = 4;

// Output rows with the same inputs, as a small dense block: the inputs once, the values of one
// input side by side. A row without partners is a tile of one.
struct Tile {
  std::int64_t first_index = 0;  // into indices
  std::int64_t first_value = 0;  // into values: value of (k-th input, r-th row) at k * height + r
  std::uint32_t count = 0;       // inputs
  std::uint32_t height = 0;      // rows, 1 .. kTileRows
  std::uint32_t rows[kTileRows] = {};  // ascending
};

struct TiledRows {
  std::vector<Tile> tiles;
  std::vector<std::uint16_t> narrow;  // one of the two, the other is empty
  std::vector<std::uint32_t> wide;
  std::vector<float> values;  // where all are equal, kTileRows copies of the one
};

}  // namespace espalier::kernels
