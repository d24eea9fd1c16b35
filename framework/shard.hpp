// Who owns which rows or samples: pure arithmetic, the same on every rank.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace espalier {

// A half-open range of global indices.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const noexcept { return end - begin; }
  bool empty() const noexcept { return begin >= end; }
  friend bool operator==(const Range&, const Range&) = default;
};

// Part `part` of `count` things dealt evenly: the first count % parts parts get one more.
Range split_evenly(std::int64_t count, int parts, int part);

// What is left of [0, count): the gaps between `ranges`, which ascend and do not overlap.
std::vector<Range> gaps_between(const std::vector<Range>& ranges, std::int64_t count);

// The part that owns `index` under split_evenly. 0 <= index < count.
int owner_evenly(std::int64_t count, int parts, std::int64_t index);

// Bounds (parts + 1 values, ascending, from 0 to rows) that deal contiguous rows to `parts` by
// weight: a row weighs its nnz plus one. `nnz_before(r)` is the number of non-zeros in rows < r,
// ascending, nnz_before(0) = 0; it is asked O(parts log rows) times.
std::vector<std::int64_t> split_by_nnz(std::int64_t rows, int parts,
                                       const std::function<std::int64_t(std::int64_t)>& nnz_before);

// The part whose [bounds[p], bounds[p+1]) holds `index`.
int owner_in(std::span<const std::int64_t> bounds, std::int64_t index);

}  // namespace espalier
