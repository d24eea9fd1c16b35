// What is found out of a matrix row by row before its size is known.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "framework/comm.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Rows of a layer with their biases, as NetworkWriter takes them.
struct LayerPiece {
  kernels::CsrRows rows;
  std::vector<float> bias;
};

// What a matrix holds in all: first collected on each rank, then over the ranks.
class MatrixTotals {
 public:
  void add(const kernels::CsrRows& rows);  // local

  // Joins the totals of all ranks, matrix by matrix.
  //   where    collective; every rank passes as many
  static void join(const Comm& comm, std::vector<MatrixTotals>& matrices);

  std::int64_t nnz() const noexcept { return nnz_; }
  // The value of all non-zeros if they are equal to the bit and there are any.
  std::optional<float> iso() const;

 private:
  std::int64_t nnz_ = 0;
  // Least and largest value, as bits.
  std::int64_t low_ = INT64_C(1) << 32, high_ = -1;
};

// Rewrites rows for a matrix with one value for all, or with one for each.
void spell_values(kernels::CsrRows& rows, std::optional<float> iso);

}  // namespace espalier::jobs
