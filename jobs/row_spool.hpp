// Rows that are complete while the size of their matrix is not known yet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/side_file.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Rows of a layer with their biases, as NetworkWriter takes them.
struct LayerPiece {
  kernels::CsrRows rows;
  std::vector<float> bias;
};

// Pieces of rows in a side file, read back in the order they were put in or any other.
//   where    local
//   throws   Error as io::SideFile
class RowSpool {
 public:
  // The first `kept_bytes` stay in memory.
  explicit RowSpool(const std::string& folder, std::int64_t kept_bytes = INT64_C(64) << 20)
      : file_(folder, kept_bytes) {}
  void append(const kernels::CsrRows& rows);
  kernels::CsrRows read(std::size_t piece) const;
  std::size_t pieces() const noexcept { return pieces_.size(); }

 private:
  struct Piece {
    std::int64_t position, rows, nnz, first_row, cols;
    bool iso;
  };
  io::SideFile file_;
  std::vector<Piece> pieces_;
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
