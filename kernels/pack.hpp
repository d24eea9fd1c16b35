// From scattered non-zero weights to packed blocks with local consecutive indices.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/blocks.hpp"
#include "kernels/layout.hpp"

namespace espalier::kernels {

// The inputs that some row of `rows` uses, ascending: global indices, each once.
//   cost     O(nnz + cols / 64)
std::vector<std::uint32_t> used_inputs(const CsrRows& rows);

// How rows are packed; the default leaves it to the cost model. The result of spmm is the same for
// every form but the last two: others serve tests and measurements.
struct PackForm {
  bool share = true;              // rows with the same inputs go into tiles
  std::int64_t block_inputs = 0;  // inputs of a block for all other rows, 0: chosen
  int rows_beside = 0;            // in such a block: one or kRowsBeside, 0: chosen
  bool round_weights = false;     // to bfloat16, before they are packed
  bool round_outputs = false;     // to bfloat16, after activation and clamp
  bool maximum = false;           // each output is the largest of its inputs, not a sum
};

// A shard's rows of one layer, ready for spmm.
// Local input l stands for global input `inputs[l]` of the list it was packed with; since that
// list ascends, a row's weights are still summed in ascending global order. Only renumbering
// changes it afterwards.
class PackedLayer {
 public:
  std::int64_t rows() const noexcept { return rows_; }
  std::int64_t nnz() const noexcept { return nnz_; }
  std::int64_t inputs() const noexcept { return inputs_; }  // local inputs
  std::int64_t bytes() const noexcept;
  bool iso() const noexcept { return iso_; }
  // The kinds of block the rows went into with their share of the weights, for reports:
  // "shared 100%", "shared 40%, blocked by 192 60%".
  std::string block_names() const;

  // Cutting the rows at multiples of this keeps the blocks whole: ranges may be any, but a block
  // that a range cuts through runs at about half speed.
  std::int64_t row_granularity() const noexcept {
    return blocked_.parts.empty() ? 1 : blocked_.stripe_rows;
  }

  const TiledRows& tiled() const noexcept { return tiled_; }
  const BlockedRows& blocked() const noexcept { return blocked_; }
  const MaximumRows& maxima() const noexcept { return maxima_; }
  // Whether inputs and rows may stand in any order: all rows are in tiles.
  bool renumbers() const noexcept { return blocked_.parts.empty() && maxima_.pointers.empty(); }
  // For each local input its place in the order in which tiles first read them; those that none
  // reads come last. Inputs that stand like this are read from few sets of the first-level cache
  // less often, and by hardware that looks ahead.
  //   cost     O(inputs + indices of the tiles)
  std::vector<std::uint32_t> reading_order() const;
  // From now on input l stands at places[l], and row r at places[r]; sums stay what they are.
  //   shapes   a permutation of (inputs), of (rows); renumbers() holds
  //   cost     O(indices of the tiles), O(nnz)
  void renumber_inputs(std::span<const std::uint32_t> places);
  void renumber_rows(std::span<const std::uint32_t> places);

  std::span<const float> bias() const noexcept { return bias_; }
  const Epilogue& epilogue() const noexcept { return epilogue_; }
  bool rounds_outputs() const noexcept { return rounds_outputs_; }

 private:
  friend PackedLayer pack_layer(const CsrRows& rows, std::span<const std::uint32_t> inputs,
                                std::span<const float> bias, const Epilogue& epilogue,
                                const PackForm& form);
  TiledRows tiled_;
  BlockedRows blocked_;
  MaximumRows maxima_;  // if there are any, they are all rows
  std::vector<float> bias_;
  Epilogue epilogue_;
  std::int64_t rows_ = 0;
  std::int64_t nnz_ = 0;
  std::int64_t inputs_ = 0;
  bool iso_ = false;
  bool rounds_outputs_ = false;
};

// Packs `rows`: every stored zero is skipped, global indices become positions in `inputs`, rows
// with the same inputs go into shared tiles and the others into blocks of inputs.
//   shapes   inputs ascending, holds every used input of rows; bias (rows), one value for all
//            rows, or empty (none)
//   throws   std::out_of_range if a used input is missing from `inputs`
//   cost     O(nnz + cols + rows log rows); bytes of the result about those of `rows`
//   exact    the result of spmm does not depend on the blocks chosen
// With form.maximum values do not matter, stored zeros excepted, and `bias` is empty.
PackedLayer pack_layer(const CsrRows& rows, std::span<const std::uint32_t> inputs,
                       std::span<const float> bias, const Epilogue& epilogue,
                       const PackForm& form = {});

// True if inputs that are all zero give outputs that are all zero: then dead samples may be
// dropped before this layer. Applies the real epilogue to zero sums, row by row.
bool maps_zero_to_zero(const PackedLayer& layer);

}  // namespace espalier::kernels
