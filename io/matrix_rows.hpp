// Rows of a stored matrix, read by the rank that owns them, written by all ranks together.
#pragma once

#include <cstdint>

#include "framework/shard.hpp"
#include "io/binsparse.hpp"
#include "io/data_file.hpp"
#include "io/staged_file.hpp"
#include "kernels/layout.hpp"

namespace espalier::io {

// Number of stored values in rows < row; rows * cols for DMAT, whole filters for kFilters.
//   cost     CSR: one small read; COO: O(log nnz) small reads
std::int64_t nnz_before(const DataFile& file, const MatrixInfo& matrix, std::int64_t row);

// The rows of `range`, whatever the format; zeros of a dense matrix and of filters are left out.
// The result is checked: pointers, order and range of indices, duplicates, finite values. Whoever
// reads many layers gives back the rows that are done with: their memory is used again, which saves
// more time than the reading takes.
//   where    local, independent
//   throws   Error(kBadData) naming file, group, row and what is wrong there
kernels::CsrRows read_rows(const DataFile& file, const MatrixInfo& matrix, Range range,
                           kernels::CsrRows reuse = {});

// How many values the matrix's format stores of these rows: for kFilters those of all filters that
// are not all zero.
std::int64_t stored_values(const MatrixInfo& matrix, const kernels::CsrRows& rows);

// Plans a matrix in `file` (borrowed) and later writes it.
class MatrixWriter {
 public:
  // CSR, COO, DMAT or filters. Narrowest index types; values float32, or of an integer type if all
  // values are such integers.
  //   where    local, the same on every rank, before StagedFile::create
  MatrixWriter(StagedFile& file, const MatrixInfo& matrix, ElementType value_type = kFloat32);

  // Writes this rank's rows; `before` is the sum of stored_values of all rows before
  // rows.first_row. A rank without
  // rows passes an empty one. Rows come from a rank in ascending order. rows.iso or not must
  // only be consistent with the values when the matrix is iso (all equal to `values[0]`).
  // DMAT takes sparse rows, stores the zeros and needs no `before`.
  //   where    collective; at least once, even for a matrix without rows
  //   throws   SharedError: as StagedFile::write; kOurBug if rows do not fit what was planned
  void write_rows(const kernels::CsrRows& rows, std::int64_t before);

 private:
  void check_rows(const kernels::CsrRows& rows, std::int64_t before) const;
  void write_pointers(const kernels::CsrRows& rows, std::int64_t before);
  void write_indices(const kernels::CsrRows& rows, std::int64_t before);
  void write_values(const kernels::CsrRows& rows, std::int64_t before);
  void write_dense(const kernels::CsrRows& rows);
  void write_filters(const kernels::CsrRows& rows, std::int64_t before);

  StagedFile* file_;
  MatrixInfo matrix_;
  ElementType value_type_, index_0_type_, index_1_type_, pointer_type_;
  int pointers_ = -1, indices_0_ = -1, indices_1_ = -1, values_ = -1;
  bool empty_written_ = false;  // the one pointer of a matrix without rows
};

}  // namespace espalier::io
