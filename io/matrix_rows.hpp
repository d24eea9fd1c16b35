// Rows of a stored matrix, read by the rank that owns them, written by all ranks together.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "framework/shard.hpp"
#include "io/binsparse.hpp"
#include "io/data_file.hpp"
#include "io/staged_file.hpp"
#include "kernels/layout.hpp"

namespace espalier::io {

// Number of stored values in rows < row; rows * cols for DMAT, whole filters for kFilters, about as
// many for a tensor's rows within a row of blocks.
//   cost     CSR, list: one small read; COO, filters, tensor, map, vector: O(log nnz) small reads;
//            CSC: reads all indices (NetworkReader keeps what it finds)
std::int64_t nnz_before(const DataFile& file, const MatrixInfo& matrix, std::int64_t row);

// The numbers of stored values in the rows before each row (rows + 1 values) of CSC.
//   cost     reads all indices
std::vector<std::int64_t> count_before_rows(const DataFile& file, const MatrixInfo& csc);

// The number of stored values in the columns before `column` of CSC.
//   cost     one small read
std::int64_t nnz_before_column(const DataFile& file, const MatrixInfo& csc, std::int64_t column);

// The weight from input `column` to output `row`; nothing if none is stored.
//   where    local
//   cost     O(log nnz) reads of one element each, none of them verified against checksums
//   throws   Error(kBadData) if it is not finite
std::optional<float> find_weight(const DataFile& file, const MatrixInfo& matrix, std::int64_t row,
                                 std::int64_t column);

// The columns `range` of CSC as if they were rows; checked like read_rows.
//   cost     reads what is stored of them
kernels::CsrRows read_columns(const DataFile& file, const MatrixInfo& csc, Range range,
                              kernels::CsrRows reuse = {});

// Stored values from `first` on, of any format without zeros between them. Not checked.
void read_values(const DataFile& file, const MatrixInfo& matrix, std::int64_t first,
                 std::span<float> out);

// The rows of `range`, whatever the format; zeros of a dense matrix, a filter or a block are left
// out. CSC costs all indices of the layer for each call, and those values that are wanted. The
// result is checked: pointers, order and range of indices, duplicates, finite values. Whoever reads
// many layers gives back the rows that are done with: their memory is used again, which saves more
// time than the reading takes.
//   where    local, independent
//   throws   Error(kBadData) naming file, group, row and what is wrong there
kernels::CsrRows read_rows(const DataFile& file, const MatrixInfo& matrix, Range range,
                           kernels::CsrRows reuse = {});

// How many blocks of a tensor these rows fill; they are whole rows of blocks.
std::int64_t count_blocks(const kernels::CsrRows& rows, const MatrixInfo& tensor);

// How many values the matrix's format stores of these rows: for kFilters those of all filters that
// are not all zero.
std::int64_t stored_values(const MatrixInfo& matrix, const kernels::CsrRows& rows);

// Plans a matrix in `file` (borrowed) and later writes it.
class MatrixWriter {
 public:
  // Any format but DVEC. Narrowest index types; values float32, or of an integer type if all values
  // are such integers (not in a list).
  //   where    local, the same on every rank, before StagedFile::create
  MatrixWriter(StagedFile& file, const MatrixInfo& matrix, ElementType value_type = kFloat32);

  // Writes this rank's rows; `before` is the sum of stored_values of all rows before
  // rows.first_row. A rank without
  // rows passes an empty one. Rows come from a rank in ascending order. rows.iso or not must
  // only be consistent with the values when the matrix is iso (all equal to `values[0]`).
  // DMAT and tensors take sparse rows, store the zeros and need no `before`; a tensor's rows come
  // in whole rows of blocks, on ranks in rank order. CSC takes columns as if they were rows.
  //   where    collective; at least once, even for a matrix without rows
  //   throws   SharedError: as StagedFile::write; kOurBug if rows do not fit what was planned
  void write_rows(const kernels::CsrRows& rows, std::int64_t before);

 private:
  void check_rows(const kernels::CsrRows& rows, std::int64_t before) const;
  void add_datasets();
  void write_pointers(const kernels::CsrRows& rows, std::int64_t before);
  void write_row_indices(const kernels::CsrRows& rows, std::int64_t before);
  void write_indices(const kernels::CsrRows& rows, std::int64_t before);
  void write_values(const kernels::CsrRows& rows, std::int64_t before);
  void write_dense(const kernels::CsrRows& rows);
  void write_linear(const kernels::CsrRows& rows, std::int64_t before);
  void write_buckets(const kernels::CsrRows& rows, std::int64_t before);
  void write_pairs(const kernels::CsrRows& rows, std::int64_t before);
  void write_blocks(const kernels::CsrRows& rows);
  void write_filters(const kernels::CsrRows& rows, std::int64_t before);

  StagedFile* file_;
  MatrixInfo matrix_;
  ElementType value_type_, index_0_type_, index_1_type_, pointer_type_;
  int pointers_ = -1, indices_0_ = -1, indices_1_ = -1, values_ = -1;
  bool empty_written_ = false;  // the one pointer of a matrix without rows
  std::int64_t blocks_written_ = 0;
};

}  // namespace espalier::io
