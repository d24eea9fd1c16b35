// What the readers of rows share; for io's own sources.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "framework/error.hpp"
#include "io/checksum.hpp"
#include "io/matrix_rows.hpp"

namespace espalier::io {

// Stored elements are read and checked in turns that fit the cache and, for elements of any size,
// begin at a border of checksum blocks.
inline constexpr std::int64_t kTurn = 2 * kBlockBytes;

template <typename... Parts>
[[noreturn]] void complain(const DataFile& file, const MatrixInfo& matrix, const Parts&... parts) {
  throw Error(ExitStatus::kBadData, text(file.catalog().file, ": ", matrix.group, ": ", parts...));
}

inline const Dataset& part(const DataFile& file, const MatrixInfo& matrix, const char* name) {
  return file.catalog().dataset(matrix.group + "/" + name);
}

// Calls use(first, end) for the turns of the elements [first, end).
template <typename Use>
void in_turns(std::int64_t first, std::int64_t end, Use&& use) {
  for (std::int64_t at = first; at < end;) {
    const std::int64_t next = std::min(end, at - at % kTurn + kTurn);
    use(at, next);
    at = next;
  }
}

// The pointers to the beginnings of `range` (rows, of CSC columns, of a map buckets) and to its
// end, as they are stored: within [0, stored] and ascending.
void read_pointers(const DataFile& file, const MatrixInfo& matrix, Range range,
                   std::vector<std::int64_t>& pointers);
std::int64_t peek_pointer(const DataFile& file, const MatrixInfo& matrix, std::int64_t line);

// Positions of the first element of `row` among what is stored: of the triplets of COO or filters,
// the blocks of a tensor (by row of blocks), the indices of a vector or a map. The ends are known,
// so that nothing can hide outside the rows, however unsorted it is.
std::int64_t triplet_of(const DataFile& file, const MatrixInfo& coo, std::int64_t row);
std::int64_t block_of(const DataFile& file, const MatrixInfo& tensor, std::int64_t row_of_blocks);
std::int64_t element_of(const DataFile& file, const MatrixInfo& linear, std::int64_t row);

// Each fills rows whose first_row and cols are set.
//   returns  false if find_fault will say what is wrong with them
bool read_csc(const DataFile& file, const MatrixInfo& matrix, Range range, kernels::CsrRows& rows);
bool read_tensor(const DataFile& file, const MatrixInfo& matrix, Range range,
                 kernels::CsrRows& rows);
bool read_linear(const DataFile& file, const MatrixInfo& matrix, Range range,
                 kernels::CsrRows& rows);
bool read_list(const DataFile& file, const MatrixInfo& matrix, Range range, kernels::CsrRows& rows);

// The values that belong to rows.indices, `first` being the first stored one.
void read_values_of(const DataFile& file, const MatrixInfo& matrix, std::int64_t first,
                    kernels::CsrRows& rows);

}  // namespace espalier::io
