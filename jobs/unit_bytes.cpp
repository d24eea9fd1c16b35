#include "jobs/unit_bytes.hpp"

#include <algorithm>

namespace espalier::jobs {

void put_rows(std::vector<std::byte>& bytes, const kernels::CsrRows& rows) {
  const bool iso = rows.iso && rows.nnz() > 0;
  put_array(bytes, std::vector<std::int64_t>{rows.rows(), rows.nnz(), rows.first_row, rows.cols,
                                             iso ? 1 : 0});
  put_array(bytes, rows.pointers.empty() ? std::vector<std::int64_t>{0} : rows.pointers);
  put_array(bytes, rows.indices);
  const std::int64_t values = iso ? 1 : rows.nnz();
  const auto more = std::as_bytes(std::span(rows.values).first(static_cast<std::size_t>(values)));
  bytes.insert(bytes.end(), more.begin(), more.end());
}

kernels::CsrRows take_rows(std::span<const std::byte>& bytes) {
  const auto numbers = take_array<std::int64_t>(bytes, 5);
  expects(numbers[0] >= 0 && numbers[0] < std::ssize(bytes), "a finished unit has whole rows");
  kernels::CsrRows rows;
  rows.first_row = numbers[2];
  rows.cols = numbers[3];
  rows.iso = numbers[4] != 0;
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
