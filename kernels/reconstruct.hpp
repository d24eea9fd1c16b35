// Weights that stay, changed so that a pruned layer's sums are near those before.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/dense.hpp"

namespace espalier::kernels {

// Takes weights out of a block of columns and makes up for each in the columns of the block that
// follow it. What it means for later columns is to be subtracted from them: errors times the rows
// of U that belong to the block.
//   shapes   weights (rows x width), changed in place; stays (rows x width), 0 for what goes;
//            factor: the block of U = upper factor of H^-1 on the diagonal (width x width);
//            errors (rows x width), written
//   where    local; thread-safe for disjoint rows
//   exact    the same bits for any split into rows
//   source   Frantar and Alistarh, "SparseGPT", 2023, algorithm 1
void prune_block(DenseView weights, std::span<const std::uint8_t> stays, ConstDenseView factor,
                 DenseView errors);

// Room that is used again from row to row.
struct LeastSquaresRoom {
  std::vector<double> matrix, residual, direction, image, scaled;
};

// Improves the values v of one row's weights towards the least of (v - w)^T G (v - w), where G is
// the Gram matrix of the inputs, w the row before and v zero but at `columns`: conjugate gradients
// scaled by the diagonal, at most kMostSteps, ended where the scaled residual has shrunk to
// kSmallResidual of the first one.
//   shapes   gram (n x n); columns (m), ascending; residual (m): (G (w - v)) there; values (m)
//   cost     O(m^2) for each step, m^2 doubles of room
//   exact    the same bits on any target with FMA
inline constexpr int kMostSteps = 60;
inline constexpr double kSmallResidual = 1e-4;
void refine_row(ConstDenseView gram, std::span<const std::uint32_t> columns,
                std::span<const double> residual, std::span<double> values, LeastSquaresRoom& room);

}  // namespace espalier::kernels
