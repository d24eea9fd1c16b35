#include "io/tidy_rows.hpp"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

namespace espalier::io {

bool sort_row(std::span<std::uint32_t> indices, std::span<float> values) {
  if (std::adjacent_find(indices.begin(), indices.end(), std::greater_equal<>()) == indices.end()) {
    return true;
  }
  std::vector<std::pair<std::uint32_t, float>> pairs(indices.size());
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    pairs[k] = {indices[k], values[k]};
  }
  std::sort(pairs.begin(), pairs.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    indices[k] = pairs[k].first;
    values[k] = pairs[k].second;
  }
  return std::adjacent_find(indices.begin(), indices.end()) == indices.end();
}

bool sort_rows(kernels::CsrRows& rows) {
  bool once = true;
  for (std::size_t r = 0; r + 1 < rows.pointers.size(); ++r) {
    const auto begin = static_cast<std::size_t>(rows.pointers[r]);
    const auto count = static_cast<std::size_t>(rows.pointers[r + 1]) - begin;
    once = sort_row(std::span(rows.indices).subspan(begin, count),
                    std::span(rows.values).subspan(begin, count)) &&
           once;
  }
  return once;
}

void leave_out_zeros(kernels::CsrRows& rows) {
  if (std::find(rows.values.begin(), rows.values.end(), 0.0F) == rows.values.end()) {
    return;
  }
  std::size_t kept = 0, k = 0;
  for (std::size_t r = 1; r < rows.pointers.size(); ++r) {
    for (; k < static_cast<std::size_t>(rows.pointers[r]); ++k) {
      if (rows.values[k] != 0) {
        rows.indices[kept] = rows.indices[k];
        rows.values[kept++] = rows.values[k];
      }
    }
    rows.pointers[r] = static_cast<std::int64_t>(kept);
  }
  rows.indices.resize(kept);
  rows.values.resize(kept);
}

}  // namespace espalier::io
