// Reading rows from CSC: one pass over the indices of all columns.
#include <numeric>

#include "io/row_reading.hpp"

namespace espalier::io {
namespace {

using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Calls use(position, row, column) for every stored value, column by column, and turn_done(first,
// end) after each turn of them.
template <typename Use, typename TurnDone>
void for_each_stored(const DataFile& file, const MatrixInfo& matrix, Use&& use,
                     TurnDone&& turn_done) {
  constexpr std::int64_t kColumns = std::int64_t{1} << 16;
  std::vector<std::int64_t> ends;
  std::vector<std::uint32_t> indices;
  for (std::int64_t left = 0; left < matrix.cols; left += kColumns) {
    const Range columns{left, std::min(matrix.cols, left + kColumns)};
    read_pointers(file, matrix, columns, ends);
    std::size_t column = 0;
    std::int64_t latest = -1;
    in_turns(ends.front(), ends.back(), [&](std::int64_t from, std::int64_t to) {
      indices.resize(to_size(to - from));
      file.read(part(file, matrix, "indices_1"), from, std::span(indices));
      for (std::int64_t k = from; k < to; ++k) {
        while (ends[column + 1] <= k) {
          ++column;
          latest = -1;
        }
        const std::int64_t row = indices[to_size(k - from)];
        if (row <= latest || row >= matrix.rows) {
          complain(file, matrix, "column ", left + static_cast<std::int64_t>(column), " has row ",
                   row,
                   row == latest  ? " twice"
                   : row < latest ? " after a larger one"
                                  : "",
                   row >= matrix.rows ? text(" but the matrix has ", matrix.rows, " rows")
                                      : std::string(": rows must ascend"));
        }
        latest = row;
        use(k, row, left + static_cast<std::int64_t>(column));
      }
      turn_done(from, to);
    });
  }
}

}  // namespace

std::int64_t nnz_before_column(const DataFile& file, const MatrixInfo& csc, std::int64_t column) {
  return peek_pointer(file, csc, column);
}

std::vector<std::int64_t> count_before_rows(const DataFile& file, const MatrixInfo& csc) {
  std::vector<std::int64_t> before(to_size(csc.rows) + 1, 0);
  for_each_stored(
      file, csc, [&](std::int64_t, std::int64_t row, std::int64_t) { ++before[to_size(row) + 1]; },
      [](std::int64_t, std::int64_t) {});
  std::partial_sum(before.begin(), before.end(), before.begin());
  return before;
}

bool read_csc(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  rows.iso = matrix.iso && matrix.stored > 0;
  rows.pointers.assign(to_size(range.size()) + 1, 0);
  struct Found {
    std::uint32_t row, column;
    float value;
  };
  std::vector<Found> found;
  std::vector<std::int64_t> wanted;  // positions of this turn
  std::vector<float> values;
  for_each_stored(
      file, matrix,
      [&](std::int64_t position, std::int64_t row, std::int64_t column) {
        if (row >= range.begin && row < range.end) {
          ++rows.pointers[to_size(row - range.begin) + 1];
          found.push_back({static_cast<std::uint32_t>(row - range.begin),
                           static_cast<std::uint32_t>(column), 0});
          wanted.push_back(position);
        }
      },
      [&](std::int64_t, std::int64_t) {
        if (!wanted.empty() && !rows.iso) {
          values.resize(to_size(wanted.back() - wanted.front() + 1));
          read_values(file, matrix, wanted.front(), values);
          Found* next = &*(found.end() - std::ssize(wanted));
          for (const std::int64_t position : wanted) {
            next++->value = values[to_size(position - wanted.front())];
          }
        }
        wanted.clear();
      });
  std::partial_sum(rows.pointers.begin(), rows.pointers.end(), rows.pointers.begin());
  rows.indices.resize(found.size());
  rows.values.resize(rows.iso ? 1 : found.size());
  if (rows.iso) {
    read_values(file, matrix, 0, rows.values);
  }
  // Columns come in order, so each row's places are filled in order.
  std::vector<std::int64_t> places(rows.pointers.begin(), rows.pointers.end() - 1);
  for (const Found& one : found) {
    const auto place = to_size(places[one.row]++);
    rows.indices[place] = one.column;
    if (!rows.iso) {
      rows.values[place] = one.value;
    }
  }
  kernels::CsrFault fault{};
  return !kernels::find_fault(rows, fault);
}

}  // namespace espalier::io
