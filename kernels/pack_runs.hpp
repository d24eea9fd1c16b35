// Short runs of weights, moved by the widest vectors the machine has.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/blocks.hpp"

namespace espalier::kernels {

// The weights of CSR rows; `values` is null where all are equal, here and below.
struct RunSource {
  const std::uint32_t* indices;
  const float* values;
  std::int64_t nnz;
};

// What is left of one row: weights next .. end.
struct RunCursor {
  std::int64_t next, end;
};

// Weights with short indices. Vectors are read and written whole: this many weights past the last
// one must be there as well.
struct Runs {
  std::uint16_t* indices;
  float* values;
};
inline constexpr std::int64_t kRunSlack = 16;

// Inputs first .. limit, at most 65536, or all that are left in the rows.
struct RunRange {
  std::uint32_t first, limit;
  bool rest;
};

// Copies the weights of a range from each row, one row after another from begins[0] on, moves the
// cursors past them and writes where each row begins and the last one ends; false if a weight in
// or next to the rows is zero.
//   shapes   begins (rows + 1)
bool gather_runs(const RunSource& from, std::span<RunCursor> rows, const RunRange& range,
                 const Runs& to, std::uint32_t* begins);

// Blocks of so many inputs; most runs have usual +- spread / 2 weights.
struct RunCuts {
  std::int64_t blocks;
  std::uint32_t width;
  std::int64_t usual, spread;
};

// Rows cut at once, at most.
inline constexpr std::int64_t kCutRows = 32;

// Counts each row's weights in each block.
//   shapes   begins (rows + 1); counts (blocks x rows), `stride` from block to block
void cut_runs(const std::uint16_t* indices, std::span<const std::uint32_t> begins,
              const RunCuts& cuts, std::uint32_t* counts, std::int64_t stride);

// Where runs go, one after another: there is room for that many weights.
struct RunTarget {
  Runs runs;
  std::int64_t room;
  std::uint16_t first_input;  // that index 0 stands for
  int rows_beside;            // kRowsBeside or one
};

// Copies runs of the rows in this order, the first rungs[0].rows ones of rungs[0].count weights,
// and so on, each from next[row] on, which then moves past it. Of each rung as many as go four at a
// time stand side by side if rows_beside says so, the others follow one another.
//   shapes   order (rows of all rungs)
void copy_runs(const Runs& from, std::uint32_t* next, const std::uint32_t* order,
               std::span<const Rung> rungs, const RunTarget& to);

}  // namespace espalier::kernels
