#include "framework/shard.hpp"

#include <algorithm>

#include "framework/error.hpp"

namespace espalier {

Range split_evenly(std::int64_t count, int parts, int part) {
  expects(count >= 0 && parts >= 1 && part >= 0 && part < parts,
          "an even split has a count, parts and one of these parts");
  const std::int64_t base = count / parts;
  const std::int64_t extra = count % parts;
  const std::int64_t begin = part * base + std::min<std::int64_t>(part, extra);
  return {begin, begin + base + (part < extra ? 1 : 0)};
}

std::vector<Range> gaps_between(const std::vector<Range>& ranges, std::int64_t count) {
  std::vector<Range> gaps;
  std::int64_t end = 0;
  for (const Range& range : ranges) {
    if (range.begin > end) {
      gaps.push_back({end, range.begin});
    }
    end = range.end;
  }
  if (end < count) {
    gaps.push_back({end, count});
  }
  return gaps;
}

int owner_evenly(std::int64_t count, int parts, std::int64_t index) {
  expects(parts >= 1 && index >= 0 && index < count, "an owned index lies inside the count");
  const std::int64_t base = count / parts;
  const std::int64_t extra = count % parts;
  const std::int64_t in_longer_parts = extra * (base + 1);
  return index < in_longer_parts ? narrow<int>(index / (base + 1))
                                 : narrow<int>(extra + (index - in_longer_parts) / base);
}

std::vector<std::int64_t> split_by_nnz(
    std::int64_t rows, int parts, const std::function<std::int64_t(std::int64_t)>& nnz_before) {
  expects(rows >= 0 && parts >= 1, "a split has rows and parts");
  const auto weight_before = [&](std::int64_t row) { return nnz_before(row) + row; };
  const std::int64_t total = weight_before(rows);
  std::vector<std::int64_t> bounds(static_cast<std::size_t>(parts) + 1, 0);
  std::int64_t bound = 0;
  for (int part = 1; part < parts; ++part) {
    // floor(total * part / parts), without the product that could overflow
    const std::int64_t target = total / parts * part + total % parts * part / parts;
    std::int64_t beyond = rows;
    while (bound < beyond) {
      const std::int64_t middle = bound + (beyond - bound) / 2;
      if (weight_before(middle) < target) {
        bound = middle + 1;
      } else {
        beyond = middle;
      }
    }
    bounds[static_cast<std::size_t>(part)] = bound;
  }
  bounds.back() = rows;
  return bounds;
}

int owner_in(std::span<const std::int64_t> bounds, std::int64_t index) {
  expects(bounds.size() >= 2 && index >= bounds.front() && index < bounds.back(),
          "an owned index lies inside the bounds");
  const auto after = std::upper_bound(bounds.begin(), bounds.end(), index);
  return narrow<int>(after - bounds.begin() - 1);
}

}  // namespace espalier
