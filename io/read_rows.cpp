#include <algorithm>
#include <atomic>
#include <bit>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "framework/error.hpp"
#include "framework/memory.hpp"
#include "framework/parallel.hpp"
#include "io/row_reading.hpp"
#include "kernels/local_rows.hpp"

namespace espalier::io {
namespace {

using kernels::CsrFault;
using kernels::CsrRows;

// Looks, without branches, for what find_fault would then name: in the stored values [turn], each
// row as far as it lies there.
bool columns_sound(const CsrRows& rows, Range turn) {
  const std::vector<std::int64_t>& pointers = rows.pointers;
  auto next = std::upper_bound(pointers.begin(), pointers.end(), turn.begin);
  std::uint32_t fault = 0;
  for (std::int64_t begin = turn.begin; begin < turn.end; ++next) {
    const std::int64_t end = std::min(*next, turn.end);
    const auto columns =
        std::span(rows.indices)
            .subspan(static_cast<std::size_t>(begin),
                     static_cast<std::size_t>(std::max(end - begin, std::int64_t{0})));
    fault |= columns.empty() || columns.back() < rows.cols ? 0U : 1U;
    for (std::size_t k = 1; k < columns.size(); ++k) {
      fault |= columns[k - 1] < columns[k] ? 0U : 1U;
    }
    begin = end;
  }
  return fault == 0;
}

// The same where a row goes on from one turn to the next.
bool joint_sound(const CsrRows& rows, std::int64_t at) {
  const auto k = static_cast<std::size_t>(at);
  return std::binary_search(rows.pointers.begin(), rows.pointers.end(), at) ||
         rows.indices[k - 1] < rows.indices[k];
}

bool values_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent = 0x7f800000U;
  std::uint32_t fault = 0;
  for (const float value : values) {
    fault |= (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent ? 1U : 0U;
  }
  return fault == 0;
}

// Makes room for `count` numbers, whatever they are. Memory of a smaller layer is not copied, and
// what is taken anew has room for layers that are a little larger.
template <typename Number>
void make_room(std::int64_t count, std::vector<Number>& out) {
  const auto size = static_cast<std::size_t>(count);
  if (out.capacity() < size) {
    const std::size_t room = size + size / 32;
    out = {};
    out.reserve(room);
    advise_huge_pages(out.data(), room * sizeof(Number));
  }
  out.resize(size);
}

// Where the indices and values of rows are stored, from position `first` on.
struct Stored {
  const Dataset& indices;
  const Dataset& values;
  std::int64_t first;
};

// Reads the stored values [turn] of rows that have room for them. Returns whether they are sound.
bool read_turn(const DataFile& file, const Stored& stored, Range turn, CsrRows& rows) {
  const auto own = [&](auto& all) {
    return std::span(all).subspan(static_cast<std::size_t>(turn.begin),
                                  static_cast<std::size_t>(turn.size()));
  };
  file.read(stored.indices, stored.first + turn.begin, own(rows.indices));
  if (!rows.iso) {
    file.read(stored.values, stored.first + turn.begin, own(rows.values));
  }
  return columns_sound(rows, turn) && (rows.iso || values_finite(own(rows.values)));
}

// Calls read(turn, file) for turns 0, 1, ..., from all threads where there is enough for them.
template <typename Read>
void share_turns(const DataFile& file, const Stored& stored, std::int64_t turns, Read&& read) {
  constexpr std::int64_t kWorthTurns = 8;
  if (threads() == 1 || turns < kWorthTurns || !stored.indices.offset || !stored.values.offset) {
    for (std::int64_t turn = 0; turn < turns; ++turn) {
      read(turn, file);
    }
    return;
  }
  std::vector<DataFile> readers;
  for (int thread = 0; thread < threads(); ++thread) {
    readers.push_back(file.for_thread());
  }
  parallel_for(turns, [&](std::int64_t turn, int thread) {
    read(turn, readers[static_cast<std::size_t>(thread)]);
  });
}

// Fills the indices and values of rows whose pointers are there, from stored value `first` on.
// Returns whether they are sound.
bool read_stored(const DataFile& file, const MatrixInfo& matrix, std::int64_t first,
                 CsrRows& rows) {
  const Stored stored{part(file, matrix, "indices_1"), part(file, matrix, "values"), first};
  const std::int64_t count = rows.nnz();
  rows.iso = matrix.iso && matrix.stored > 0;
  make_room(count, rows.indices);
  make_room(rows.iso ? 1 : count, rows.values);
  if (rows.iso) {
    file.read(stored.values, 0, std::span(rows.values));
  }
  // Borders of turns in the file, so that each block of it is read once.
  const std::int64_t turns = count == 0 ? 0 : (first + count - 1) / kTurn - first / kTurn + 1;
  const auto border = [&](std::int64_t turn) {
    return std::clamp((first / kTurn + turn) * kTurn - first, std::int64_t{0}, count);
  };
  std::atomic<bool> turns_sound = true;
  share_turns(file, stored, turns, [&](std::int64_t turn, const DataFile& reader) {
    if (!read_turn(reader, stored, {border(turn), border(turn + 1)}, rows)) {
      turns_sound = false;
    }
  });
  bool sound = turns_sound && (!rows.iso || count == 0 || values_finite(rows.values));
  for (std::int64_t turn = 1; turn < turns; ++turn) {
    sound = joint_sound(rows, border(turn)) && sound;
  }
  return sound;
}

bool read_csr(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  read_pointers(file, matrix, range, rows.pointers);
  const std::int64_t first = rows.pointers.front();
  for (std::int64_t& pointer : rows.pointers) {
    pointer -= first;
  }
  return read_stored(file, matrix, first, rows);
}

// Fills the pointers from the rows of triplets.
//   returns  the first triplet
std::int64_t read_triplet_rows(const DataFile& file, const MatrixInfo& matrix, Range range,
                               CsrRows& rows) {
  const std::int64_t first = triplet_of(file, matrix, range.begin);
  const std::int64_t end = triplet_of(file, matrix, range.end);
  rows.pointers.assign(static_cast<std::size_t>(range.size()) + 1, 0);
  const Dataset& row_indices = part(file, matrix, "indices_0");
  std::vector<std::int64_t> buffer(
      static_cast<std::size_t>(std::clamp<std::int64_t>(end - first, 0, std::int64_t{1} << 16)));
  std::int64_t latest = range.begin;
  for (std::int64_t at = first; at < end;) {
    const auto length = std::min(std::ssize(buffer), end - at);
    const auto found = std::span(buffer).first(static_cast<std::size_t>(length));
    file.read(row_indices, at, found);
    for (std::size_t k = 0; k < found.size(); ++k) {
      const std::int64_t row = found[k];
      if (row < latest || row >= range.end) {
        const std::int64_t triplet = at + static_cast<std::int64_t>(k);
        complain(file, matrix, "triplet ", triplet, " is of row ", row,
                 row < 0 || row >= matrix.rows ? text(", but the matrix has ", matrix.rows, " rows")
                                               : text(": triplets must be sorted by row"));
      }
      latest = row;
      ++rows.pointers[static_cast<std::size_t>(row - range.begin) + 1];
    }
    at += length;
  }
  for (std::size_t r = 1; r < rows.pointers.size(); ++r) {
    rows.pointers[r] += rows.pointers[r - 1];
  }
  return first;
}

bool read_coo(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  return read_stored(file, matrix, read_triplet_rows(file, matrix, range, rows), rows);
}

// Each triplet is a small dense row; its zeros are left out.
bool read_filters(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  const std::int64_t first = read_triplet_rows(file, matrix, range, rows);
  const std::int64_t taps = matrix.values_per_index(), channels = matrix.cols / taps;
  std::vector<std::uint32_t> channel(static_cast<std::size_t>(rows.nnz()));
  file.read(part(file, matrix, "indices_1"), first, std::span(channel));
  std::vector<float> values(channel.size() * static_cast<std::size_t>(taps));
  file.read(part(file, matrix, "values"), first * taps, std::span(values));
  rows.indices.clear();
  rows.values.clear();
  std::size_t filter = 0;
  for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
    const auto begin = filter, end = static_cast<std::size_t>(rows.pointers[row + 1]);
    for (; filter < end; ++filter) {
      if (channel[filter] >= channels ||
          (filter > begin && channel[filter] <= channel[filter - 1])) {
        complain(file, matrix, "filter ", first + static_cast<std::int64_t>(filter),
                 " is of input channel ", channel[filter], "; ascending ones below ", channels,
                 " would be right");
      }
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        const float value =
            values[filter * static_cast<std::size_t>(taps) + static_cast<std::size_t>(tap)];
        if (value != 0) {
          rows.indices.push_back(static_cast<std::uint32_t>(channel[filter] * taps + tap));
          rows.values.push_back(value);
        }
      }
    }
    rows.pointers[row + 1] = std::ssize(rows.indices);
  }
  return values_finite(rows.values);
}

// Puts the values of one row from column `first` on that are not zero behind `kept` others.
//   returns  how many there are then; what lies behind them is left over
std::int64_t append_nonzero(std::span<const float> found, std::int64_t first, std::int64_t kept,
                            CsrRows& rows) {
  const std::size_t room = static_cast<std::size_t>(kept) + found.size();
  if (rows.values.size() < room) {
    rows.indices.resize(room);
    rows.values.resize(room);
  }
  std::uint32_t* index = rows.indices.data() + kept;
  float* value = rows.values.data() + kept;
  auto column = static_cast<std::uint32_t>(first);
  if (!kernels::any_zero(found)) {
    std::iota(index, index + found.size(), column);
    std::copy(found.begin(), found.end(), value);
    return kept + std::ssize(found);
  }
  for (const float x : found) {
    *index = column++;
    *value = x;
    const std::ptrdiff_t next = x != 0 ? 1 : 0;
    index += next;
    value += next;
  }
  return value - rows.values.data();
}

bool read_dense(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  const Dataset& values = part(file, matrix, "values");
  rows.pointers.assign(1, 0);
  rows.indices.resize(rows.values.size());
  const std::int64_t end = range.end * matrix.cols;
  std::vector<float> buffer(static_cast<std::size_t>(
      std::min(end - range.begin * matrix.cols, kTurn / std::int64_t{sizeof(float)})));
  bool sound = true;
  std::int64_t kept = 0;
  for (std::int64_t at = range.begin * matrix.cols; at < end;) {
    const auto length = std::min(std::ssize(buffer), end - at);
    auto found = std::span<float>(buffer).first(static_cast<std::size_t>(length));
    file.read(values, at, found);
    sound = values_finite(found) && sound;
    for (at += length; !found.empty();) {
      const std::int64_t column = (at - std::ssize(found)) % matrix.cols;
      const auto row =
          found.first(static_cast<std::size_t>(std::min(std::ssize(found), matrix.cols - column)));
      kept = append_nonzero(row, column, kept, rows);
      found = found.subspan(row.size());
      if (column + std::ssize(row) == matrix.cols) {
        rows.pointers.push_back(kept);
      }
    }
  }
  rows.pointers.resize(static_cast<std::size_t>(range.size()) + 1, 0);  // rows of no columns
  rows.indices.resize(static_cast<std::size_t>(kept));
  rows.values.resize(static_cast<std::size_t>(kept));
  return sound;
}

// Says what is wrong with rows that are not sound.
[[noreturn]] void refuse(const DataFile& file, const MatrixInfo& matrix, const CsrRows& rows) {
  CsrFault fault{};
  expects(kernels::find_fault(rows, fault), "rows that are not sound have a fault");
  switch (fault.kind) {
    case CsrFault::Kind::kPointersDescend:
      complain(file, matrix, "the pointers of row ", fault.row, " descend");
    case CsrFault::Kind::kColumnRange:
      complain(file, matrix, "row ", fault.row, " has column ", fault.column, " but the matrix is ",
               matrix.cols, " wide");
    case CsrFault::Kind::kColumnOrder:
      complain(file, matrix, "row ", fault.row, " has column ", fault.column,
               " after a larger one: columns must ascend");
    case CsrFault::Kind::kDuplicate:
      complain(file, matrix, "row ", fault.row, " has column ", fault.column, " twice");
    case CsrFault::Kind::kNotFinite:
      break;
  }
  complain(file, matrix, "row ", fault.row, ", column ", fault.column, ": the value is not finite");
}

bool read_any(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  switch (matrix.format) {
    case MatrixFormat::kCsr:
      return read_csr(file, matrix, range, rows);
    case MatrixFormat::kCsc:
      return read_csc(file, matrix, range, rows);
    case MatrixFormat::kCoo:
      return read_coo(file, matrix, range, rows);
    case MatrixFormat::kFilters:
      return read_filters(file, matrix, range, rows);
    case MatrixFormat::kTensor:
      return read_tensor(file, matrix, range, rows);
    case MatrixFormat::kMap:
    case MatrixFormat::kVector:
      return read_linear(file, matrix, range, rows);
    case MatrixFormat::kList:
      return read_list(file, matrix, range, rows);
    case MatrixFormat::kDmat:
    case MatrixFormat::kDvec:
      break;
  }
  return read_dense(file, matrix, range, rows);
}

}  // namespace

std::int64_t triplet_of(const DataFile& file, const MatrixInfo& coo, std::int64_t row) {
  return row == 0          ? 0
         : row == coo.rows ? coo.stored / coo.values_per_index()
                           : file.lower_bound(part(file, coo, "indices_0"), row);
}

std::int64_t nnz_before(const DataFile& file, const MatrixInfo& matrix, std::int64_t row) {
  expects(row >= 0 && row <= matrix.rows, "a row of the matrix is asked for");
  switch (matrix.format) {
    case MatrixFormat::kCsr:
    case MatrixFormat::kList:
      return peek_pointer(file, matrix, row);
    case MatrixFormat::kCsc:
      return count_before_rows(file, matrix)[static_cast<std::size_t>(row)];
    case MatrixFormat::kCoo:
    case MatrixFormat::kFilters:
      return triplet_of(file, matrix, row) * matrix.values_per_index();
    case MatrixFormat::kTensor: {
      if (row == matrix.rows) {
        return matrix.stored;
      }
      // Rows within a row of blocks share its values evenly.
      const std::int64_t above = row / matrix.block_rows, inside = row % matrix.block_rows;
      const std::int64_t before = block_of(file, matrix, above);
      const std::int64_t here = inside == 0 ? 0 : block_of(file, matrix, above + 1) - before;
      return before * matrix.block_values() +
             std::max<std::int64_t>(here, 0) * matrix.block_cols * inside;
    }
    case MatrixFormat::kMap:
    case MatrixFormat::kVector:
      return element_of(file, matrix, row);
    case MatrixFormat::kDmat:
    case MatrixFormat::kDvec:
      break;
  }
  return row * matrix.cols;
}

CsrRows read_rows(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows reuse) {
  expects(range.begin >= 0 && range.begin <= range.end && range.end <= matrix.rows,
          "rows of the matrix are asked for");
  CsrRows rows = std::move(reuse);
  rows.first_row = range.begin;
  rows.cols = matrix.cols;
  rows.iso = false;
  if (!read_any(file, matrix, range, rows)) {
    refuse(file, matrix, rows);
  }
  return rows;
}

CsrRows read_columns(const DataFile& file, const MatrixInfo& csc, Range range, CsrRows reuse) {
  expects(csc.format == MatrixFormat::kCsc && range.begin >= 0 && range.begin <= range.end &&
              range.end <= csc.cols,
          "columns of a matrix in CSC are asked for");
  CsrRows rows = std::move(reuse);
  rows.first_row = range.begin;
  rows.cols = csc.rows;
  rows.iso = false;
  CsrFault fault{};
  // The arrays are those of the transposed matrix in CSR.
  if (!read_csr(file, csc, range, rows) && kernels::find_fault(rows, fault)) {
    complain(file, csc, "column ", fault.row, " is not sound at row ", fault.column,
             ": rows must ascend below ", csc.rows, " and values be finite");
  }
  return rows;
}

}  // namespace espalier::io
