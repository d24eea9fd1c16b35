// The writing half of matrix_rows.hpp.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
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

// A float as an element of `type`; integers must hold it exactly.
void check_value(ElementType type, float value) {
  if (type.is_half()) {
    return;  // looked at where it is stored
  }
  with_type(type, [&](auto sample) {
    using T = decltype(sample);
    if constexpr (std::is_integral_v<T>) {
      // The upper limit is a power of two as a float, one more than the type's largest value.
      const auto above = std::ldexp(1.0F, std::numeric_limits<T>::digits);
      const bool fits = std::trunc(value) == value && value < above &&
                        value >= static_cast<float>(std::numeric_limits<T>::min());
      expects(fits, text("a value fits its type, but ", value, " is no ", to_string(type)));
    }
  });
}

// Without branches in the long run over a row's columns.
bool columns_ascend(const CsrRows& rows, std::int64_t cols) {
  std::uint32_t fault = 0;
  for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
    const std::int64_t begin = rows.pointers[row], end = rows.pointers[row + 1];
    if (begin < 0 || begin > end || end > std::ssize(rows.indices)) {
      return false;
    }
    const auto columns = std::span(rows.indices).subspan(to_size(begin), to_size(end - begin));
    for (std::size_t k = 1; k < columns.size(); ++k) {
      fault |= columns[k - 1] < columns[k] ? 0U : 1U;
    }
    fault |= columns.empty() || columns.back() < cols ? 0U : 1U;
  }
  return fault == 0;
}

bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

// Calls use(row, channel, values) for each filter of the rows that is not all zero, in order.
template <typename Use>
void for_each_filter(const MatrixInfo& matrix, const CsrRows& rows, Use use) {
  const std::int64_t taps = matrix.values_per_index();
  std::vector<float> filter(to_size(taps));
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const std::int64_t end = rows.pointers[to_size(row) + 1];
    for (std::int64_t k = rows.pointers[to_size(row)]; k < end;) {
      const std::int64_t channel = rows.indices[to_size(k)] / taps;
      bool empty = true;
      std::fill(filter.begin(), filter.end(), 0.0F);
      for (; k < end && rows.indices[to_size(k)] / taps == channel; ++k) {
        filter[to_size(rows.indices[to_size(k)] % taps)] = rows.value(k);
        empty = empty && rows.value(k) == 0;
      }
      if (!empty) {
        use(row, channel, std::span<const float>(filter));
      }
    }
  }
}

// Checks that ranks with values hold the same one.
void expect_one_value(const Comm& comm, const std::string& group, const CsrRows& rows) {
  // The largest bits and, negated, the smallest.
  std::array<std::int64_t, 2> most = {-1, std::numeric_limits<std::int64_t>::min()};
  if (rows.nnz() > 0) {
    most[0] = std::bit_cast<std::uint32_t>(rows.value(0));
    most[1] = -most[0];
  }
  comm.max(most);
  locally(comm, "comparing values", [&] {
    expects(most[0] < 0 || most[0] == -most[1],
            text(group, ": all ranks hold the one value of an iso matrix"));
  });
}

}  // namespace

std::int64_t stored_values(const MatrixInfo& matrix, const CsrRows& rows) {
  if (matrix.format == MatrixFormat::kDmat) {
    return rows.rows() * matrix.cols;
  }
  if (matrix.format != MatrixFormat::kFilters) {
    return rows.nnz();
  }
  std::int64_t stored = 0;
  for_each_filter(matrix, rows, [&](std::int64_t, std::int64_t, std::span<const float> values) {
    stored += std::ssize(values);
  });
  return stored;
}

MatrixWriter::MatrixWriter(StagedFile& file, const MatrixInfo& matrix, ElementType value_type)
    : file_(&file),
      matrix_(matrix),
      value_type_(value_type == kFloat32 ? matrix.value_type : value_type),
      pointer_type_(narrowest_unsigned(matrix.stored)) {
  expects(matrix_.rows >= 0 && matrix_.cols >= 0 && matrix_.stored >= 0 &&
              matrix_.format != MatrixFormat::kDvec && value_type_.native_order,
          "a matrix of two dimensions is written");
  matrix_.iso = matrix_.iso && matrix_.stored > 0;
  const bool map = matrix_.format == MatrixFormat::kMap;
  expects(!matrix_.iso || (!matrix_.stores_zeros() && matrix_.format != MatrixFormat::kList),
          "a dense matrix and a list have all their values");
  if (matrix_.format == MatrixFormat::kDmat) {
    matrix_.stored = matrix_.rows * matrix_.cols;
  }
  const bool filters = matrix_.format == MatrixFormat::kFilters;
  expects(!filters || (matrix_.stored % matrix_.values_per_index() == 0 &&
                       matrix_.cols % matrix_.values_per_index() == 0 && !matrix_.iso),
          "filters are stored whole");
  if (map && matrix_.bucket_bits == 0) {
    matrix_.bucket_bits = plan_bucket_bits(matrix_);
  }
  add_datasets();
  if (matrix_.format == MatrixFormat::kCsc) {
    std::swap(matrix_.rows, matrix_.cols);  // from here on as the rows of the transposed matrix
  }
}

void MatrixWriter::add_datasets() {
  const auto type_below = [](std::int64_t limit) {
    return narrowest_unsigned(std::max<std::int64_t>(limit - 1, 0));
  };
  std::map<std::string, ElementType> types;
  const auto add = [&](const std::string& name, ElementType type, std::int64_t count) {
    types[name] = type;
    return file_->add_dataset(matrix_.group + "/" + name, type, {count});
  };
  const std::int64_t stored = matrix_.stored;
  index_1_type_ = type_below(matrix_.cols);
  switch (matrix_.format) {
    case MatrixFormat::kCsr:
      pointers_ = add("pointers_to_1", pointer_type_, matrix_.rows + 1);
      break;
    case MatrixFormat::kCsc:
      pointers_ = add("pointers_to_1", pointer_type_, matrix_.cols + 1);
      index_1_type_ = type_below(matrix_.rows);
      break;
    case MatrixFormat::kMap:
      pointers_ = add("pointers_to_1", pointer_type_, matrix_.buckets() + 1);
      index_1_type_ = type_below(std::int64_t{1} << matrix_.bucket_bits);
      break;
    case MatrixFormat::kCoo:
      index_0_type_ = type_below(matrix_.rows);
      indices_0_ = add("indices_0", index_0_type_, stored);
      break;
    case MatrixFormat::kTensor:
      index_0_type_ = type_below(matrix_.rows_of_blocks());
      index_1_type_ = type_below(matrix_.cols_of_blocks());
      indices_0_ = add("indices_0", index_0_type_, stored / matrix_.values_per_index());
      break;
    case MatrixFormat::kFilters:
      index_0_type_ = type_below(matrix_.rows);
      index_1_type_ = type_below(matrix_.cols / matrix_.values_per_index());
      indices_0_ = add("indices_0", index_0_type_, stored / matrix_.values_per_index());
      break;
    case MatrixFormat::kVector:
      index_0_type_ = type_below(matrix_.rows * matrix_.cols);
      indices_0_ = add("indices_0", index_0_type_, stored);
      break;
    case MatrixFormat::kList:
      expects(value_type_ == kFloat32, "a list holds float32");
      pointers_ = add("pointers", pointer_type_, matrix_.rows + 1);
      values_ = add("pairs", kPairType, stored);
      break;
    case MatrixFormat::kDmat:
    case MatrixFormat::kDvec:
      break;
  }
  const bool second = matrix_.format != MatrixFormat::kDmat &&
                      matrix_.format != MatrixFormat::kVector &&
                      matrix_.format != MatrixFormat::kList;
  if (second) {
    indices_1_ = add("indices_1", index_1_type_, stored / matrix_.values_per_index());
  }
  if (matrix_.format != MatrixFormat::kList) {
    values_ = add("values", value_type_, matrix_.iso ? 1 : stored);
  }
  file_->add_attribute(matrix_.group, descriptor_name(matrix_.format),
                       make_descriptor(matrix_, types));
}

void MatrixWriter::check_rows(const CsrRows& rows, std::int64_t before) const {
  const std::int64_t nnz = rows.nnz();
  expects(rows.rows() == 0 || (rows.first_row >= 0 && rows.cols == matrix_.cols &&
                               rows.first_row <= matrix_.rows - rows.rows()),
          text(matrix_.group, ": rows lie within ", matrix_.rows, " x ", matrix_.cols));
  expects(rows.rows() > 0 || nnz == 0, text(matrix_.group, ": values belong to rows"));
  expects(std::ssize(rows.indices) == nnz &&
              std::ssize(rows.values) >= (rows.iso ? std::min<std::int64_t>(nnz, 1) : nnz),
          text(matrix_.group, ": there are as many indices and values as pointers say"));
  expects(columns_ascend(rows, matrix_.cols),
          text(matrix_.group, ": columns ascend within each row and lie within ", matrix_.cols));
  if (matrix_.stores_zeros()) {
    return;
  }
  const std::int64_t stored = stored_values(matrix_, rows);
  expects(stored == 0 || (before >= 0 && before <= matrix_.stored - stored),
          text(matrix_.group, ": values lie within the ", matrix_.stored, " planned"));
  const auto used = std::span(rows.values).first(to_size(nnz == 0 ? 0 : rows.iso ? 1 : nnz));
  expects(!matrix_.iso || std::all_of(used.begin(), used.end(),
                                      [&](float value) { return same_bits(value, used[0]); }),
          text(matrix_.group, ": all values of an iso matrix are equal"));
  if (value_type_.kind != ElementClass::kFloat) {
    for (const float value : used) {
      check_value(value_type_, value);
    }
  }
}

void MatrixWriter::write_rows(const CsrRows& rows, std::int64_t before) {
  const Comm& comm = file_->comm();
  locally(comm, "checking rows", [&] { check_rows(rows, before); });
  switch (matrix_.format) {
    case MatrixFormat::kDmat:
    case MatrixFormat::kDvec:
      write_dense(rows);
      return;
    case MatrixFormat::kTensor:
      write_blocks(rows);
      return;
    case MatrixFormat::kFilters:
      write_filters(rows, before);
      return;
    case MatrixFormat::kList:
      write_pointers(rows, before);
      write_pairs(rows, before);
      return;
    case MatrixFormat::kCsr:
    case MatrixFormat::kCsc:
      write_pointers(rows, before);
      write_indices(rows, before);
      break;
    case MatrixFormat::kCoo:
      write_row_indices(rows, before);
      write_indices(rows, before);
      break;
    case MatrixFormat::kMap:
      write_buckets(rows, before);
      write_linear(rows, before);
      break;
    case MatrixFormat::kVector:
      write_linear(rows, before);
      break;
  }
  write_values(rows, before);
}

void MatrixWriter::write_row_indices(const CsrRows& rows, std::int64_t before) {
  const Bytes row_of = locally(file_->comm(), "preparing rows", [&] {
    std::int64_t row = 0;
    return store(index_0_type_, rows.nnz(), [&](std::int64_t k) {
      while (rows.pointers[to_size(row) + 1] <= k) {
        ++row;
      }
      return rows.first_row + row;
    });
  });
  file_->write(indices_0_, before, row_of);
}

// A row brings the pointer to its end; the first row brings the 0 in front as well, or rank 0 if
// there are no rows at all.
void MatrixWriter::write_pointers(const CsrRows& rows, std::int64_t before) {
  const bool nobody_has_rows = matrix_.rows == 0 && !empty_written_ && file_->comm().rank() == 0;
  empty_written_ = true;
  const bool with_first = (rows.rows() > 0 && rows.first_row == 0) || nobody_has_rows;
  const std::int64_t skipped = with_first ? 0 : 1;
  const Bytes pointers = locally(file_->comm(), "preparing pointers", [&] {
    return store(pointer_type_, rows.rows() + 1 - skipped,
                 [&](std::int64_t k) { return before + rows.pointers[to_size(k + skipped)]; });
  });
  file_->write(pointers_, rows.first_row + skipped, pointers);
}

void MatrixWriter::write_indices(const CsrRows& rows, std::int64_t before) {
  if (index_1_type_ == kUint32) {
    file_->write(indices_1_, before, std::as_bytes(std::span(rows.indices)));
    return;
  }
  const Bytes columns = locally(file_->comm(), "preparing columns", [&] {
    return store(index_1_type_, rows.nnz(),
                 [&](std::int64_t k) { return rows.indices[to_size(k)]; });
  });
  file_->write(indices_1_, before, columns);
}

void MatrixWriter::write_values(const CsrRows& rows, std::int64_t before) {
  if (value_type_ == kFloat32 && !rows.iso && !matrix_.iso) {
    file_->write(values_, before, std::as_bytes(std::span(rows.values)));
    return;
  }
  if (matrix_.iso) {
    expect_one_value(file_->comm(), matrix_.group, rows);
  }
  // Of an iso matrix, the rank with the first value writes the one that stands for all.
  const std::int64_t count = matrix_.iso ? (before == 0 && rows.nnz() > 0 ? 1 : 0) : rows.nnz();
  const Bytes values = locally(file_->comm(), "preparing values", [&] {
    return store(value_type_, count, [&](std::int64_t k) { return rows.value(k); });
  });
  file_->write(values_, matrix_.iso ? 0 : before, values);
}

void MatrixWriter::write_filters(const CsrRows& rows, std::int64_t before) {
  std::vector<std::int64_t> outputs, inputs;
  std::vector<float> values;
  locally(file_->comm(), "gathering filters", [&] {
    for_each_filter(matrix_, rows,
                    [&](std::int64_t row, std::int64_t channel, std::span<const float> filter) {
                      outputs.push_back(rows.first_row + row);
                      inputs.push_back(channel);
                      values.insert(values.end(), filter.begin(), filter.end());
                    });
  });
  const auto numbers = [](ElementType type, const auto& from) {
    return store(type, std::ssize(from), [&](std::int64_t k) { return from[to_size(k)]; });
  };
  const std::int64_t first = before / matrix_.values_per_index();
  file_->write(indices_0_, first, numbers(index_0_type_, outputs));
  file_->write(indices_1_, first, numbers(index_1_type_, inputs));
  file_->write(values_, before, numbers(value_type_, values));
}

void MatrixWriter::write_dense(const CsrRows& rows) {
  const Bytes values = locally(file_->comm(), "spreading rows", [&] {
    expects(matrix_.cols == 0 ||
                rows.rows() <= std::numeric_limits<std::int64_t>::max() / 8 / matrix_.cols,
            "dense rows fit into memory");
    std::vector<float> dense(to_size(rows.rows() * matrix_.cols), 0.0F);
    for (std::int64_t row = 0; row < rows.rows(); ++row) {
      for (std::int64_t k = rows.pointers[to_size(row)]; k < rows.pointers[to_size(row) + 1]; ++k) {
        const float value = rows.value(k);
        check_value(value_type_, value);
        dense[to_size(row * matrix_.cols + rows.indices[to_size(k)])] = value;
      }
    }
    return store(value_type_, std::ssize(dense), [&](std::int64_t k) { return dense[to_size(k)]; });
  });
  file_->write(values_, rows.first_row * matrix_.cols, values);
}

}  // namespace espalier::io
