#include "jobs/unit_bytes.hpp"

#include <algorithm>
#include <bit>

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

enum Form : std::int64_t { kSpelled = 0, kIso = 1, kFull = 2 };

// A place that is +0 has no weight when it is read back.
bool is_zero(float value) { return std::bit_cast<std::uint32_t>(value) == 0; }

Form form_of(const CsrRows& rows) {
  if (rows.iso && rows.nnz() > 0) {
    return kIso;
  }
  const bool shorter = rows.rows() > 0 && rows.cols <= 2 * (rows.nnz() / rows.rows());
  return shorter && std::none_of(rows.values.begin(), rows.values.end(), is_zero) ? kFull
                                                                                  : kSpelled;
}

void put_full_rows(std::vector<std::byte>& bytes, const CsrRows& rows) {
  std::vector<float> row(static_cast<std::size_t>(rows.cols));
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows.rows()); ++r) {
    std::fill(row.begin(), row.end(), 0.0F);
    for (auto k = static_cast<std::size_t>(rows.pointers[r]);
         k < static_cast<std::size_t>(rows.pointers[r + 1]); ++k) {
      row[rows.indices[k]] = rows.values[k];
    }
    put_array(bytes, row);
  }
}

void take_full_rows(std::span<const std::byte>& bytes, std::int64_t count, CsrRows& rows) {
  rows.pointers.assign(1, 0);
  for (std::int64_t r = 0; r < count; ++r) {
    const auto row = take_array<float>(bytes, rows.cols);
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (!is_zero(row[column])) {
        rows.indices.push_back(static_cast<std::uint32_t>(column));
        rows.values.push_back(row[column]);
      }
    }
    rows.pointers.push_back(std::ssize(rows.indices));
  }
}

}  // namespace

void put_rows(std::vector<std::byte>& bytes, const CsrRows& rows) {
  const Form form = form_of(rows);
  put_array(bytes,
            std::vector<std::int64_t>{rows.rows(), rows.nnz(), rows.first_row, rows.cols, form});
  if (form == kFull) {
    put_full_rows(bytes, rows);
    return;
  }
  put_array(bytes, rows.pointers.empty() ? std::vector<std::int64_t>{0} : rows.pointers);
  put_array(bytes, rows.indices);
  const std::int64_t values = form == kIso ? 1 : rows.nnz();
  const auto more = std::as_bytes(std::span(rows.values).first(static_cast<std::size_t>(values)));
  bytes.insert(bytes.end(), more.begin(), more.end());
}

CsrRows take_rows(std::span<const std::byte>& bytes) {
  const auto numbers = take_array<std::int64_t>(bytes, 5);
  expects(numbers[0] >= 0 && numbers[0] < std::ssize(bytes), "a finished unit has whole rows");
  CsrRows rows;
  rows.first_row = numbers[2];
  rows.cols = numbers[3];
  rows.iso = numbers[4] == kIso;
  if (numbers[4] == kFull) {
    take_full_rows(bytes, numbers[0], rows);
    expects(rows.nnz() == numbers[1], "a finished unit has as many weights as it says");
    return rows;
  }
  rows.pointers = take_array<std::int64_t>(bytes, numbers[0] + 1);
  expects(rows.pointers.front() == 0 && rows.pointers.back() == numbers[1] &&
              std::is_sorted(rows.pointers.begin(), rows.pointers.end()),
          "the pointers of a finished unit ascend");
  rows.indices = take_array<std::uint32_t>(bytes, numbers[1]);
  rows.values = take_array<float>(bytes, rows.iso ? 1 : numbers[1]);
  return rows;
}

void put_counts(std::vector<std::byte>& bytes, std::span<const std::int64_t> counts) {
  std::vector<std::uint32_t> digits;
  std::vector<std::int64_t> found;
  for (std::size_t digit = 0; digit < counts.size(); ++digit) {
    if (counts[digit] != 0) {
      digits.push_back(static_cast<std::uint32_t>(digit));
      found.push_back(counts[digit]);
    }
  }
  put_array(bytes, std::vector<std::int64_t>{std::ssize(digits)});
  put_array(bytes, digits);
  put_array(bytes, found);
}

void take_counts(std::span<const std::byte>& bytes, std::span<std::int64_t> counts) {
  const std::int64_t number = take_array<std::int64_t>(bytes, 1)[0];
  const auto digits = take_array<std::uint32_t>(bytes, number);
  const auto found = take_array<std::int64_t>(bytes, number);
  for (std::size_t k = 0; k < digits.size(); ++k) {
    expects(digits[k] < counts.size(), "a digit lies within its range");
    counts[digits[k]] += found[k];
  }
}

}  // namespace espalier::jobs
