// Reading rows from lists, from forms over the linear index, and from blocks.
#include <limits>

#include "io/row_reading.hpp"

namespace espalier::io {
namespace {

using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

bool sound(const CsrRows& rows) {
  kernels::CsrFault fault{};
  return !kernels::find_fault(rows, fault);
}

const char* pointers_of(const MatrixInfo& matrix) {
  return matrix.format == MatrixFormat::kList ? "pointers" : "pointers_to_1";
}

// What the pointers point to the beginnings of, and how many there are.
const char* line_word(const MatrixInfo& matrix) {
  return matrix.format == MatrixFormat::kCsc   ? "column "
         : matrix.format == MatrixFormat::kMap ? "bucket "
                                               : "row ";
}

std::int64_t lines_of(const MatrixInfo& matrix) {
  return matrix.format == MatrixFormat::kCsc   ? matrix.cols
         : matrix.format == MatrixFormat::kMap ? matrix.buckets()
                                               : matrix.rows;
}

void check_pointer(const DataFile& file, const MatrixInfo& matrix, std::int64_t line,
                   std::int64_t pointer) {
  if (pointer < 0 || pointer > matrix.stored) {
    complain(file, matrix, line_word(matrix), line, " begins at stored value ", pointer,
             ", but there are ", matrix.stored);
  }
  const bool last = line == lines_of(matrix);
  const std::int64_t right = line == 0 ? 0 : matrix.stored;
  if ((line == 0 || last) && pointer != right) {
    complain(file, matrix, "the ", line == 0 ? "first" : "last", " pointer is ", pointer, ", ",
             right, " would be right");
  }
}

// Where the linear index `index` is, or would be, among the keys of a map.
std::int64_t position_in_map(const DataFile& file, const MatrixInfo& map, std::int64_t index) {
  const std::int64_t bucket = index >> map.bucket_bits;
  const std::int64_t key = index - (bucket << map.bucket_bits);
  const std::int64_t begin = peek_pointer(file, map, bucket);
  if (key == 0) {
    return begin;
  }
  const std::int64_t end = peek_pointer(file, map, bucket + 1);
  return file.lower_bound(part(file, map, "indices_1"), key, {begin, std::max(begin, end)});
}

// Gives the linear indices of stored elements, ascending positions only.
class LinearIndices {
 public:
  LinearIndices(const DataFile& file, const MatrixInfo& matrix, Range rows)
      : file_(file),
        matrix_(matrix),
        dataset_(
            part(file, matrix, matrix.format == MatrixFormat::kMap ? "indices_1" : "indices_0")) {
    if (matrix.format == MatrixFormat::kMap && !rows.empty()) {
      bucket_ = rows.begin * matrix.cols >> matrix.bucket_bits;
      const std::int64_t last = (rows.end * matrix.cols - 1) >> matrix.bucket_bits;
      read_pointers(file, matrix, {bucket_, last + 1}, ends_);
    }
  }

  void read(std::int64_t first, std::span<std::int64_t> out) {
    file_.read(dataset_, first, out);
    if (matrix_.format != MatrixFormat::kMap) {
      return;
    }
    for (std::int64_t& index : out) {
      // The pointer behind the bucket that is next.
      while (next_ < ends_.size() && ends_[next_] <= first) {
        ++next_;
      }
      const auto bucket = bucket_ + static_cast<std::int64_t>(next_) - 1;
      if (next_ == 0 || next_ == ends_.size() || index < 0 || index >> matrix_.bucket_bits != 0) {
        complain(file_, matrix_, "element ", first, " has key ", index, " in bucket ", bucket,
                 "; keys of ", matrix_.bucket_bits, " bits are right");
      }
      index += bucket << matrix_.bucket_bits;
      ++first;
    }
  }

 private:
  const DataFile& file_;
  const MatrixInfo& matrix_;
  const Dataset& dataset_;
  std::int64_t bucket_ = 0;  // the one that ends_[0] begins
  std::vector<std::int64_t> ends_;
  std::size_t next_ = 0;
};

// Puts the non-zeros of blocks into rows, one row of blocks after the other.
class BlockReader {
 public:
  BlockReader(const DataFile& file, const MatrixInfo& matrix, Range wanted, CsrRows& rows)
      : file_(file),
        matrix_(matrix),
        wanted_(wanted),
        rows_(rows),
        above_(wanted.begin / matrix.block_rows),
        columns_(to_size(std::min(matrix.block_rows, wanted.size()))),
        values_(columns_.size()) {}

  // The blocks [first, end), which are all there are in the wanted rows.
  void read(std::int64_t first, std::int64_t end) {
    const std::int64_t each = matrix_.block_values();
    const std::int64_t step = std::max<std::int64_t>(1, kTurn / each);
    std::vector<std::int64_t> above, beside;
    std::vector<float> values;
    for (std::int64_t at = first; at < end; at += step) {
      const std::int64_t count = std::min(step, end - at);
      above.resize(to_size(count));
      beside.resize(to_size(count));
      values.resize(to_size(count * each));
      file_.read(part(file_, matrix_, "indices_0"), at, std::span(above));
      file_.read(part(file_, matrix_, "indices_1"), at, std::span(beside));
      file_.read(part(file_, matrix_, "values"), at * each, std::span(values));
      for (std::int64_t k = 0; k < count; ++k) {
        advance(at + k, above[to_size(k)], beside[to_size(k)]);
        take(std::span(values).subspan(to_size(k * each), to_size(each)));
      }
    }
    close_until((wanted_.end - 1) / matrix_.block_rows + 1);
  }

 private:
  void advance(std::int64_t block, std::int64_t above, std::int64_t beside) {
    const bool later = above > above_ || (above == above_ && beside > beside_);
    if (!later || above * matrix_.block_rows >= wanted_.end || beside < 0 ||
        beside >= matrix_.cols_of_blocks()) {
      complain(file_, matrix_, "block ", block, " is (", above, ", ", beside,
               "): blocks must ascend by row, then column, and lie within ",
               matrix_.rows_of_blocks(), " x ", matrix_.cols_of_blocks());
    }
    close_until(above);
    beside_ = beside;
  }

  // The wanted rows of the row of blocks at hand, counted from its top.
  Range inside() const {
    const std::int64_t top = above_ * matrix_.block_rows;
    return {std::max(wanted_.begin, top) - top,
            std::min(wanted_.end, top + matrix_.block_rows) - top};
  }

  void close_until(std::int64_t above) {
    for (; above_ < above; ++above_, beside_ = -1) {
      for (std::size_t row = 0; row < to_size(inside().size()); ++row) {
        rows_.indices.insert(rows_.indices.end(), columns_[row].begin(), columns_[row].end());
        rows_.values.insert(rows_.values.end(), values_[row].begin(), values_[row].end());
        rows_.pointers.push_back(std::ssize(rows_.indices));
        columns_[row].clear();
        values_[row].clear();
      }
    }
  }

  void take(std::span<const float> block) {
    const std::int64_t top = above_ * matrix_.block_rows, left = beside_ * matrix_.block_cols;
    // Beyond the matrix everything must be zero.
    const std::int64_t height = matrix_.rows - top, width = matrix_.cols - left;
    const Range rows = inside();
    for (std::int64_t k = 0; k < std::ssize(block); ++k) {
      const std::int64_t row = k / matrix_.block_cols, column = k % matrix_.block_cols;
      const float value = block[to_size(k)];
      if (value == 0) {
        continue;
      }
      if (row >= height || column >= width) {
        complain(file_, matrix_, "a block holds ", value, " at row ", top + row, ", column ",
                 left + column, ", but the matrix is ", matrix_.rows, " x ", matrix_.cols);
      }
      if (row >= rows.begin && row < rows.end) {
        columns_[to_size(row - rows.begin)].push_back(static_cast<std::uint32_t>(left + column));
        values_[to_size(row - rows.begin)].push_back(value);
      }
    }
  }

  const DataFile& file_;
  const MatrixInfo& matrix_;
  Range wanted_;
  CsrRows& rows_;
  std::int64_t above_, beside_ = -1;  // the block at hand
  // Of the row of blocks at hand, by wanted row.
  std::vector<std::vector<std::uint32_t>> columns_;
  std::vector<std::vector<float>> values_;
};

}  // namespace

std::int64_t peek_pointer(const DataFile& file, const MatrixInfo& matrix, std::int64_t line) {
  const std::int64_t pointer = file.peek(part(file, matrix, pointers_of(matrix)), line);
  check_pointer(file, matrix, line, pointer);
  return pointer;
}

void read_pointers(const DataFile& file, const MatrixInfo& matrix, Range range,
                   std::vector<std::int64_t>& pointers) {
  pointers.resize(to_size(range.size()) + 1);
  file.read(part(file, matrix, pointers_of(matrix)), range.begin, std::span(pointers));
  for (std::size_t k = 0; k < pointers.size(); ++k) {
    const std::int64_t line = range.begin + static_cast<std::int64_t>(k);
    check_pointer(file, matrix, line, pointers[k]);
    if (k > 0 && pointers[k] < pointers[k - 1]) {
      complain(file, matrix, line_word(matrix), line - 1, " begins at stored value ",
               pointers[k - 1], " and ends at ", pointers[k], ": pointers must ascend");
    }
  }
}

std::int64_t block_of(const DataFile& file, const MatrixInfo& tensor, std::int64_t row_of_blocks) {
  return row_of_blocks == 0 ? 0
         : row_of_blocks == tensor.rows_of_blocks()
             ? tensor.stored / tensor.block_values()
             : file.lower_bound(part(file, tensor, "indices_0"), row_of_blocks);
}

std::int64_t element_of(const DataFile& file, const MatrixInfo& linear, std::int64_t row) {
  if (row == 0 || row == linear.rows) {
    return row == 0 ? 0 : linear.stored;
  }
  const std::int64_t index = row * linear.cols;
  return linear.format == MatrixFormat::kMap
             ? position_in_map(file, linear, index)
             : file.lower_bound(part(file, linear, "indices_0"), index);
}

void read_values(const DataFile& file, const MatrixInfo& matrix, std::int64_t first,
                 std::span<float> out) {
  expects(!matrix.stores_zeros(), "stored values stand without zeros between them");
  if (matrix.iso && !out.empty()) {
    file.read(part(file, matrix, "values"), 0, out.first(1));
    std::fill(out.begin(), out.end(), out[0]);
  } else if (matrix.format == MatrixFormat::kList) {
    std::vector<IndexedWeight> pairs(out.size());
    file.read(part(file, matrix, "pairs"), first, std::span(pairs));
    std::transform(pairs.begin(), pairs.end(), out.begin(),
                   [](const IndexedWeight& pair) { return pair.weight; });
  } else {
    file.read(part(file, matrix, "values"), first, out);
  }
}

void read_values_of(const DataFile& file, const MatrixInfo& matrix, std::int64_t first,
                    CsrRows& rows) {
  rows.iso = matrix.iso && matrix.stored > 0;
  rows.values.resize(rows.iso ? 1 : rows.indices.size());
  read_values(file, matrix, first, rows.values);
}

bool read_linear(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  const std::int64_t first = element_of(file, matrix, range.begin);
  const std::int64_t end = std::max(first, element_of(file, matrix, range.end));
  rows.pointers.assign(to_size(range.size()) + 1, 0);
  rows.indices.resize(to_size(end - first));
  LinearIndices linear(file, matrix, first == end ? Range{} : range);
  std::vector<std::int64_t> buffer;
  std::int64_t row = range.begin, row_end = (range.begin + 1) * matrix.cols;
  std::int64_t latest = range.begin * matrix.cols - 1;
  const std::int64_t limit = range.end * matrix.cols;
  in_turns(first, end, [&](std::int64_t from, std::int64_t to) {
    buffer.resize(to_size(to - from));
    linear.read(from, buffer);
    for (std::int64_t k = from; k < to; ++k) {
      const std::int64_t index = buffer[to_size(k - from)];
      if (index <= latest || index >= limit) {
        complain(file, matrix, "element ", k, " has the linear index ", index,
                 ": indices must ascend, here from ", latest + 1, " and below ", limit);
      }
      latest = index;
      while (index >= row_end) {
        ++row;
        row_end += matrix.cols;
      }
      ++rows.pointers[to_size(row - range.begin) + 1];
      rows.indices[to_size(k - first)] =
          static_cast<std::uint32_t>(index - (row_end - matrix.cols));
    }
  });
  for (std::size_t r = 1; r < rows.pointers.size(); ++r) {
    rows.pointers[r] += rows.pointers[r - 1];
  }
  read_values_of(file, matrix, first, rows);
  return sound(rows);
}

bool read_list(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  read_pointers(file, matrix, range, rows.pointers);
  const std::int64_t first = rows.pointers.front();
  for (std::int64_t& pointer : rows.pointers) {
    pointer -= first;
  }
  rows.indices.resize(to_size(rows.nnz()));
  rows.values.resize(to_size(rows.nnz()));
  std::vector<IndexedWeight> pairs;
  in_turns(first, first + rows.nnz(), [&](std::int64_t from, std::int64_t to) {
    pairs.resize(to_size(to - from));
    file.read(part(file, matrix, "pairs"), from, std::span(pairs));
    for (std::size_t k = 0; k < pairs.size(); ++k) {
      rows.indices[to_size(from - first) + k] = pairs[k].index;
      rows.values[to_size(from - first) + k] = pairs[k].weight;
    }
  });
  return sound(rows);
}

bool read_tensor(const DataFile& file, const MatrixInfo& matrix, Range range, CsrRows& rows) {
  rows.pointers.assign(1, 0);
  rows.indices.clear();
  rows.values.clear();
  if (range.empty()) {
    return true;
  }
  const std::int64_t first = block_of(file, matrix, range.begin / matrix.block_rows);
  const std::int64_t end = block_of(file, matrix, (range.end - 1) / matrix.block_rows + 1);
  BlockReader(file, matrix, range, rows).read(first, end);
  return sound(rows);
}

}  // namespace espalier::io
