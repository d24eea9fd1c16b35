// From scattered non-zero weights to packed blocks with local consecutive indices.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/layout.hpp"

namespace espalier::kernels {

// The inputs that some row of `rows` uses, ascending: global indices, each once.
//   cost     O(nnz + cols / 64)
std::vector<std::uint32_t> used_inputs(const CsrRows& rows);

// A shard's rows of one layer, ready for spmm. Immutable.
// Local input l stands for global input `inputs[l]` of the list it was packed with; since that
// list ascends, a row's weights are still summed in ascending global order.
class PackedLayer {
 public:
  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(pointers_.size()) - 1; }
  std::int64_t nnz() const noexcept { return pointers_.back(); }
  std::int64_t inputs() const noexcept { return inputs_; }  // local inputs
  std::int64_t bytes() const noexcept;
  bool iso() const noexcept { return iso_; }
  // The kinds of block its rows were packed into, for the run report.
  std::string block_names() const { return "rows"; }

  std::span<const std::int64_t> pointers() const noexcept { return pointers_; }
  // Exactly one of these is filled: 16-bit indices where inputs() <= 65536.
  std::span<const std::uint16_t> narrow_indices() const noexcept { return narrow_; }
  std::span<const std::uint32_t> wide_indices() const noexcept { return wide_; }
  std::span<const float> values() const noexcept { return values_; }
  std::span<const float> bias() const noexcept { return bias_; }
  const Epilogue& epilogue() const noexcept { return epilogue_; }

 private:
  friend PackedLayer pack_layer(const CsrRows& rows, std::span<const std::uint32_t> inputs,
                                std::span<const float> bias, const Epilogue& epilogue);
  std::vector<std::int64_t> pointers_ = {0};
  std::vector<std::uint16_t> narrow_;
  std::vector<std::uint32_t> wide_;
  std::vector<float> values_;
  std::vector<float> bias_;
  Epilogue epilogue_;
  std::int64_t inputs_ = 0;
  bool iso_ = false;
};

// Packs `rows`: every stored zero is skipped, global indices become positions in `inputs`.
//   shapes   inputs ascending, holds every used input of rows; bias (rows), one value for all
//            rows, or empty (none)
//   throws   std::out_of_range if a used input is missing from `inputs`
//   cost     O(nnz + cols), one pass; bytes of the result at most those of `rows`
PackedLayer pack_layer(const CsrRows& rows, std::span<const std::uint32_t> inputs,
                       std::span<const float> bias, const Epilogue& epilogue);

// True if inputs that are all zero give outputs that are all zero: then dead samples may be
// dropped before this layer. Applies the real epilogue to zero sums, row by row.
bool maps_zero_to_zero(const PackedLayer& layer);

}  // namespace espalier::kernels
