// The packed forms of rows. Plain data without functions: code compiled for many targets reads it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/storage.hpp"

namespace espalier::kernels {

// Rows of one tile at most: with two vectors of samples each, 16 accumulators hide the latency of
// the multiply-adds, and an activation is loaded once for all eight rows.
inline constexpr int kTileRows = 8;

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
  Storage<std::uint16_t> narrow;  // one of the two, the other is empty
  Storage<std::uint32_t> wide;
  Storage<float> values;  // where all are equal, kTileRows copies of the one
};

// Rows of equal count inside one block of inputs: four at a time with their weights side by side
// (BlockedRows::rows_beside) and what is left of them one row after another, or all like that.
struct Rung {
  std::uint32_t count;  // weights of each
  std::uint32_t rows;
};

// Rows that run at once where registers hold the sums of so many: weight k of row r stands at
// 4 k + r.
inline constexpr int kRowsBeside = 4;
inline constexpr int kRowsBesideFloats = 16;  // of a vector of such registers

// Rows whose sums are fetched ahead: so many entries follow the last row's.
inline constexpr std::int64_t kRungAhead = 4;
static_assert(kRungAhead >= kRowsBeside);

// Indices of the next weights are read before it is known that there are any.
inline constexpr std::int64_t kIndexSlack = 2 * kRowsBeside;

// Inputs of a block at most whose weights are bfloat16 numbers: their slice in this form, 64 KiB,
// lies on the stack.
inline constexpr std::int64_t kMostShortInputs = 512;

// Rows of one part at most: enough that rungs have several rows; few enough that the work can be
// cut between parts.
inline constexpr std::int64_t kStripeRows = 512;

// Rows that go through all blocks before the next ones: their sums (512 KiB) stay in the
// second-level cache although the weights of a dense block stream through it.
inline constexpr std::int64_t kGroupRows = 2048;

// All weights of rows in dense parts, and the values of all inputs up to these parts, are this
// large or zero: products then stay so far above the smallest float that no sum is a negative zero,
// and adding zero for a gap changes no bit.
inline constexpr float kLeastDenseWeight = 0x1p-50F;

// The rows of one stripe inside one block of inputs, or those of them that have nearly all its
// inputs (`dense`).
struct BlockPart {
  std::int64_t first_input;         // local input that index 0 stands for
  std::int64_t first_weight;        // into indices and values
  std::int64_t begin, end;          // of its rungs, or of its dense tiles
  std::int64_t row_begin, row_end;  // all its rows lie in here
  std::int64_t first_place;         // into rung_rows
  bool opens, closes;               // the first, the last part of these rows: holds all of them
  bool dense;                       // neither opens nor closes
};

// Rows with inputs of their own, cut into blocks of inputs whose panel slices stay in the
// first-level cache. Parts are ordered by group of rows and block, so every sum still ascends.
struct BlockedRows {
  std::vector<BlockPart> parts;
  std::vector<Rung> rungs;
  std::vector<std::uint32_t> rung_rows;
  int rows_beside = 1;
  std::int64_t weights = 0;        // in rungs
  Storage<std::uint16_t> indices;  // kIndexSlack more than weights
  Storage<float> values;           // one where all are equal
  Storage<std::uint16_t> shorts;   // instead of values: bfloat16 numbers
  float least_input = 0;           // with which products of shorts stay so large that nothing is
                                   // denormal: then pairs may be multiplied by one instruction
  std::vector<Tile> dense_tiles;   // count: a block's inputs; no indices
  Storage<float> dense_values;     // of these tiles, 0 in the gaps
  std::int64_t dense_weights = 0;  // without the gaps
  std::int64_t block_inputs = 0;
  std::int64_t stripe_rows = kStripeRows;
};

// Rows that take the largest of their inputs.
struct MaximumRows {
  std::vector<std::int64_t> pointers;  // rows + 1, or none
  std::vector<std::uint32_t> indices;
};

}  // namespace espalier::kernels
