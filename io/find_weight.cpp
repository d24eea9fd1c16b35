// One weight by its unique index.
#include <cmath>

#include "io/row_reading.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kNowhere = -1;

// The position of `index` among the ascending indices `within`.
std::int64_t search(const DataFile& file, const Dataset& indices, std::int64_t index,
                    Range within) {
  within.end = std::max(within.begin, within.end);
  const std::int64_t position = file.lower_bound(indices, index, within);
  return position < within.end && file.peek(indices, position) == index ? position : kNowhere;
}

// The same in the row, column or bucket `line`.
std::int64_t search_line(const DataFile& file, const MatrixInfo& matrix, const char* indices,
                         std::int64_t line, std::int64_t index) {
  return search(file, part(file, matrix, indices), index,
                {peek_pointer(file, matrix, line), peek_pointer(file, matrix, line + 1)});
}

// Where the weight is stored.
std::int64_t position_of(const DataFile& file, const MatrixInfo& matrix, std::int64_t row,
                         std::int64_t column) {
  switch (matrix.format) {
    case MatrixFormat::kCsr:
      return search_line(file, matrix, "indices_1", row, column);
    case MatrixFormat::kList:
      return search_line(file, matrix, "pairs", row, column);
    case MatrixFormat::kCsc:
      return search_line(file, matrix, "indices_1", column, row);
    case MatrixFormat::kCoo:
      return search(file, part(file, matrix, "indices_1"), column,
                    {triplet_of(file, matrix, row), triplet_of(file, matrix, row + 1)});
    case MatrixFormat::kFilters: {
      const std::int64_t taps = matrix.values_per_index();
      const std::int64_t filter =
          search(file, part(file, matrix, "indices_1"), column / taps,
                 {triplet_of(file, matrix, row), triplet_of(file, matrix, row + 1)});
      return filter == kNowhere ? kNowhere : filter * taps + column % taps;
    }
    case MatrixFormat::kTensor: {
      const std::int64_t above = row / matrix.block_rows;
      const std::int64_t block =
          search(file, part(file, matrix, "indices_1"), column / matrix.block_cols,
                 {block_of(file, matrix, above), block_of(file, matrix, above + 1)});
      return block == kNowhere
                 ? kNowhere
                 : block * matrix.block_values() + row % matrix.block_rows * matrix.block_cols +
                       column % matrix.block_cols;
    }
    case MatrixFormat::kMap: {
      const std::int64_t index = row * matrix.cols + column;
      const std::int64_t bucket = index >> matrix.bucket_bits;
      return search_line(file, matrix, "indices_1", bucket, index - (bucket << matrix.bucket_bits));
    }
    case MatrixFormat::kVector:
      return search(file, part(file, matrix, "indices_0"), row * matrix.cols + column,
                    {0, matrix.stored});
    case MatrixFormat::kDmat:
    case MatrixFormat::kDvec:
      break;
  }
  return row * matrix.cols + column;
}

}  // namespace

std::optional<float> find_weight(const DataFile& file, const MatrixInfo& matrix, std::int64_t row,
                                 std::int64_t column) {
  expects(row >= 0 && row < matrix.rows && column >= 0 && column < matrix.cols,
          "a weight of the matrix is looked for");
  const std::int64_t position = position_of(file, matrix, row, column);
  if (position == kNowhere) {
    return std::nullopt;
  }
  const bool list = matrix.format == MatrixFormat::kList;
  const float value =
      file.peek_value(part(file, matrix, list ? "pairs" : "values"), matrix.iso ? 0 : position);
  if (!std::isfinite(value)) {
    complain(file, matrix, "row ", row, ", column ", column, ": the value is not finite");
  }
  if ((matrix.stores_zeros() || matrix.format == MatrixFormat::kFilters) && value == 0) {
    return std::nullopt;
  }
  return value;
}

}  // namespace espalier::io
