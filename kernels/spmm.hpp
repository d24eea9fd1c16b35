// Sparse rows times a dense panel, with bias, activation and clamp fused.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/layout.hpp"
#include "kernels/pack.hpp"

namespace espalier::kernels {

// Computes rows [row_begin, row_end) of out = epilogue(layer x in) for one panel; of rows packed as
// maxima, epilogue(the largest of a row's inputs), 0 without inputs.
//   shapes   in (layer.inputs() x kPanelWidth), out (layer.rows() x kPanelWidth), both 64-byte
//            aligned, not overlapping; alive_bits (kPanelWidth): OR-ed with the bits of |out| of
//            every row done, so zero exactly where all of them are zero in that sample.
//            Columns from `samples` on may be left as they are, with any bits
//   where    local; thread-safe for disjoint rows or panels with alive_bits of their own
//   cost     O(nnz of the rows x kPanelWidth) multiply-adds, no allocation
//   exact    each output is one chain of fused multiply-adds from zero in ascending input order,
//            then the bias: the same bits for any split and on any target with FMA. Without FMA
//            (SSE4 and older) products are rounded: within nnz x 2^-24 x sum |w x| of reference.
//            kSoftmax is stored as the plain sum + bias; apply softmax (samples.hpp) to whole
//            samples. A NaN stays a NaN through every activation and clamp, and a zero keeps its
//            sign.
void spmm(const PackedLayer& layer, const float* in, float* out, std::int64_t row_begin,
          std::int64_t row_end, std::uint32_t* alive_bits, std::int64_t samples = kPanelWidth);

// Applies an epilogue to plain sums, in place; bias has one value a row or is empty.
//   shapes   panel (rows x kPanelWidth)
//   exact    the same as inside spmm
void apply_epilogue(float* panel, std::int64_t rows, std::span<const float> bias,
                    const Epilogue& epilogue);

// Copies the columns named by `from` (ascending) of one panel to the columns to, to + 1, … of
// another; the target's other columns keep what they hold. Both may be the same panel if no column
// moves to the right.
//   shapes   source, target (rows x kPanelWidth), 64-byte aligned; from at most kPanelWidth - to
//   cost     O(rows x from)
void move_columns(const float* source, float* target, std::int64_t rows,
                  std::span<const std::uint8_t> from, std::int64_t to);

// Copies the columns named by `from` (source panel x kPanelWidth + column, ascending, each once)
// into full panels, in order; the rest of the last one becomes 0.
//   shapes   source: consecutive panels of (rows x kPanelWidth); target: as many as `from` fills,
//            ceil(from / kPanelWidth); both 64-byte aligned, not overlapping
//   cost     O(rows x from)
void compact_panels(const float* source, float* target, std::int64_t rows,
                    std::span<const std::int64_t> from);

}  // namespace espalier::kernels
