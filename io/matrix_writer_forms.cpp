// Writing forms over the linear index, lists and blocks.
#include <algorithm>
#include <limits>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/matrix_rows.hpp"
#include "io/store_elements.hpp"

namespace espalier::io {
namespace {

using kernels::CsrRows;
using Bytes = std::vector<std::byte>;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// The linear indices of entries that are asked for in ascending order.
class LinearIndex {
 public:
  explicit LinearIndex(const CsrRows& rows) : rows_(rows) {}
  std::int64_t operator()(std::int64_t k) {
    while (rows_.pointers[to_size(row_) + 1] <= k) {
      ++row_;
    }
    return (rows_.first_row + row_) * rows_.cols + rows_.indices[to_size(k)];
  }

 private:
  const CsrRows& rows_;
  std::int64_t row_ = 0;
};

// The non-zero blocks of some rows of blocks.
struct Blocks {
  std::vector<std::int64_t> above, beside;
  std::vector<float> values;
};

Blocks cut_into_blocks(const CsrRows& rows, const MatrixInfo& matrix) {
  Blocks blocks;
  const std::int64_t height = matrix.block_rows, width = matrix.block_cols;
  std::vector<std::int64_t> touched;
  for (std::int64_t top = 0; top < rows.rows(); top += height) {
    const std::int64_t bottom = std::min(rows.rows(), top + height);
    const std::int64_t begin = rows.pointers[to_size(top)], end = rows.pointers[to_size(bottom)];
    touched.clear();
    for (std::int64_t k = begin; k < end; ++k) {
      if (rows.value(k) != 0) {
        touched.push_back(rows.indices[to_size(k)] / width);
      }
    }
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    const std::size_t first = blocks.values.size();
    blocks.above.insert(blocks.above.end(), touched.size(), (rows.first_row + top) / height);
    blocks.beside.insert(blocks.beside.end(), touched.begin(), touched.end());
    blocks.values.resize(first + touched.size() * to_size(height * width), 0.0F);
    for (std::int64_t row = top; row < bottom; ++row) {
      auto block = touched.begin();
      for (std::int64_t k = rows.pointers[to_size(row)]; k < rows.pointers[to_size(row) + 1]; ++k) {
        const float value = rows.value(k);
        const std::int64_t column = rows.indices[to_size(k)];
        if (value != 0) {
          block = std::lower_bound(block, touched.end(), column / width);
          const auto at = first + to_size((block - touched.begin()) * height * width +
                                          (row - top) * width + column % width);
          blocks.values[at] = value;
        }
      }
    }
  }
  return blocks;
}

}  // namespace

std::int64_t count_blocks(const CsrRows& rows, const MatrixInfo& tensor) {
  std::int64_t count = 0;
  std::vector<std::uint32_t> touched;
  for (std::int64_t top = 0; top < rows.rows(); top += tensor.block_rows) {
    const std::int64_t bottom = std::min(rows.rows(), top + tensor.block_rows);
    touched.clear();
    for (auto k = rows.pointers[to_size(top)]; k < rows.pointers[to_size(bottom)]; ++k) {
      if (rows.value(k) != 0) {
        touched.push_back(rows.indices[to_size(k)] / static_cast<std::uint32_t>(tensor.block_cols));
      }
    }
    std::sort(touched.begin(), touched.end());
    count += std::unique(touched.begin(), touched.end()) - touched.begin();
  }
  return count;
}

void MatrixWriter::write_linear(const CsrRows& rows, std::int64_t before) {
  const bool map = matrix_.format == MatrixFormat::kMap;
  const std::int64_t mask =
      map ? (std::int64_t{1} << matrix_.bucket_bits) - 1 : std::numeric_limits<std::int64_t>::max();
  const Bytes indices = locally(file_->comm(), "preparing linear indices", [&] {
    LinearIndex linear(rows);
    return store(map ? index_1_type_ : index_0_type_, rows.nnz(),
                 [&](std::int64_t k) { return linear(k) & mask; });
  });
  file_->write(map ? indices_1_ : indices_0_, before, indices);
}

// A rank brings the pointers of the buckets that begin within its rows; whoever has the first row
// or the last one has the first or last pointer.
void MatrixWriter::write_buckets(const CsrRows& rows, std::int64_t before) {
  const std::int64_t begin = rows.first_row * matrix_.cols;
  const std::int64_t end = begin + rows.rows() * matrix_.cols;
  const int bits = matrix_.bucket_bits;
  const std::int64_t first = begin == 0 ? 0 : ((begin - 1) >> bits) + 1;
  const bool last_rows = rows.first_row + rows.rows() == matrix_.rows;
  const std::int64_t behind = rows.rows() == 0 ? first
                              : last_rows      ? matrix_.buckets() + 1
                                               : ((end - 1) >> bits) + 1;
  const Bytes pointers = locally(file_->comm(), "preparing buckets", [&] {
    LinearIndex linear(rows);
    std::int64_t passed = 0;
    return store(pointer_type_, behind - first, [&](std::int64_t k) {
      while (passed < rows.nnz() && linear(passed) >> bits < first + k) {
        ++passed;
      }
      return before + passed;
    });
  });
  file_->write(pointers_, first, pointers);
}

void MatrixWriter::write_pairs(const CsrRows& rows, std::int64_t before) {
  const auto pairs = locally(file_->comm(), "preparing pairs", [&] {
    std::vector<IndexedWeight> list(to_size(rows.nnz()));
    for (std::int64_t k = 0; k < rows.nnz(); ++k) {
      list[to_size(k)] = {rows.indices[to_size(k)], rows.value(k)};
    }
    return list;
  });
  file_->write(values_, before, std::as_bytes(std::span(pairs)));
}

void MatrixWriter::write_blocks(const CsrRows& rows) {
  const Comm& comm = file_->comm();
  const Blocks blocks = locally(comm, "cutting rows into blocks", [&] {
    expects(rows.rows() == 0 || (rows.first_row % matrix_.block_rows == 0 &&
                                 (rows.first_row + rows.rows() == matrix_.rows ||
                                  rows.rows() % matrix_.block_rows == 0)),
            text(matrix_.group, ": whole rows of blocks are written"));
    return cut_into_blocks(rows, matrix_);
  });
  const std::int64_t count = std::ssize(blocks.above);
  const std::int64_t before = blocks_written_ + comm.sum_before(count);
  blocks_written_ += comm.sum(count);
  const auto stored = [&](ElementType type, const auto& numbers) {
    return locally(comm, "preparing blocks", [&] {
      return store(type, std::ssize(numbers), [&](std::int64_t k) { return numbers[to_size(k)]; });
    });
  };
  file_->write(indices_0_, before, stored(index_0_type_, blocks.above));
  file_->write(indices_1_, before, stored(index_1_type_, blocks.beside));
  file_->write(values_, before * matrix_.block_values(), stored(value_type_, blocks.values));
}

}  // namespace espalier::io
