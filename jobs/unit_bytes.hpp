// What a finished unit is made of, as bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "framework/error.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Appends an array as it lies in memory (little-endian).
template <typename T>
void put_array(std::vector<std::byte>& bytes, const std::vector<T>& values) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto more = std::as_bytes(std::span(values));
  bytes.insert(bytes.end(), more.begin(), more.end());
}

// Takes an array off the front of `bytes`.
//   throws   BugError if they are fewer
template <typename T>
std::vector<T> take_array(std::span<const std::byte>& bytes, std::int64_t count) {
  static_assert(std::is_trivially_copyable_v<T>);
  expects(count >= 0 && count <= std::ssize(bytes) / std::int64_t{sizeof(T)},
          "a finished unit holds what its numbers say");
  std::vector<T> values(static_cast<std::size_t>(count));
  const std::size_t length = values.size() * sizeof(T);
  if (length > 0) {
    std::memcpy(values.data(), bytes.data(), length);
  }
  bytes = bytes.subspan(length);
  return values;
}

// Five numbers (rows, nnz, first row, columns, form), then by form: 0 and 1 (iso) pointers, indices
// and the values, one if iso; 2, where that is shorter, all places, +0 where there is no weight.
void put_rows(std::vector<std::byte>& bytes, const kernels::CsrRows& rows);
kernels::CsrRows take_rows(std::span<const std::byte>& bytes);

// Counts of digits, those that are not zero: their number, the digits (uint32), their counts.
void put_counts(std::vector<std::byte>& bytes, std::span<const std::int64_t> counts);
// Adds them to `counts`.
void take_counts(std::span<const std::byte>& bytes, std::span<std::int64_t> counts);

}  // namespace espalier::jobs
