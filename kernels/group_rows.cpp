#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>

#include "kernels/local_rows.hpp"

namespace espalier::kernels {
namespace {

std::uint64_t mix(std::uint64_t x) {
  x *= 0xD6E8FEB86659FD93U;
  return x ^ (x >> 32U);
}

// Of a row's length, its first and last six inputs and two between: nearly all rows that differ,
// differ here, and of rows that follow one another these lie on few lines of the cache.
std::uint64_t hash_of_few(std::span<const std::uint32_t> indices) {
  constexpr std::size_t kEnd = 6;
  std::uint64_t hash = mix(indices.size() + 1);
  if (indices.size() < 2 * kEnd) {
    for (const std::uint32_t index : indices) hash = mix(hash + index);
    return hash;
  }
  const auto both = [&](std::size_t a, std::size_t b) {
    hash = mix(hash + indices[a] + (std::uint64_t{indices[b]} << 32U));
  };
  const std::size_t last = indices.size() - 1;
  for (std::size_t k = 0; k < kEnd; ++k) both(k, last - k);
  both(last / 3, last - last / 3);
  return hash;
}

std::uint64_t hash_of_all(std::span<const std::uint32_t> indices) {
  // Two sums of mixed terms: the multiplications do not wait for each other.
  std::uint64_t even = indices.size();
  std::uint64_t odd = 0;
  std::uint64_t place = 0x9E3779B97F4A7C15U;
  for (const std::uint32_t index : indices) {
    const std::uint64_t term = (index + place) * 0xD6E8FEB86659FD93U;
    even += term ^ (term >> 32U);
    odd ^= term;
    place += 0x9E3779B97F4A7C15U;
  }
  return mix(even ^ (odd * 0xFF51AFD7ED558CCDU));
}

bool same(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

// Finds the group of each row through a table of hashes with open addresses.
class Grouping {
 public:
  explicit Grouping(const LocalRows& rows)
      : rows_(rows), group_of_(static_cast<std::size_t>(rows.rows())) {}

  // False if more than `tolerated` rows looked alike without being so: the hash is too weak.
  template <class Hash>
  bool find(Hash hash, std::size_t tolerated) {
    const std::size_t size = std::bit_ceil(group_of_.size() * 2 + 2);
    table_.assign(size, Slot{0, kEmpty});
    firsts_.clear();
    std::size_t alike = 0;
    for (std::uint32_t row = 0; row < group_of_.size(); ++row) {
      fetch(row + kAhead);
      const auto indices = rows_.row_indices(row);
      const std::uint64_t key = hash(indices);
      std::size_t place = key & (size - 1);
      while (table_[place].group != kEmpty &&
             (table_[place].hash != key ||
              !same(indices, rows_.row_indices(firsts_[table_[place].group])))) {
        if (table_[place].hash == key) ++alike;
        place = (place + 1) & (size - 1);
      }
      if (table_[place].group == kEmpty) {
        table_[place] = {key, static_cast<std::uint32_t>(firsts_.size())};
        firsts_.push_back(row);
      }
      group_of_[row] = table_[place].group;
      if (alike > tolerated) return false;
    }
    return true;
  }

  // Rows by group, counted first.
  RowGroups groups() const {
    RowGroups groups;
    groups.starts.assign(firsts_.size() + 1, 0);
    for (const std::uint32_t group : group_of_) ++groups.starts[group + std::size_t{1}];
    for (std::size_t g = 1; g < groups.starts.size(); ++g) {
      groups.starts[g] += groups.starts[g - 1];
    }
    groups.members.resize(group_of_.size());
    std::vector<std::uint32_t> next(groups.starts.begin(), groups.starts.end() - 1);
    for (std::uint32_t row = 0; row < group_of_.size(); ++row) {
      groups.members[next[group_of_[row]]++] = row;
    }
    return groups;
  }

 private:
  // What hash_of_few will look at.
  void fetch(std::uint32_t row) const {
#if defined(__GNUC__)
    if (row >= group_of_.size()) return;
    const std::uint32_t* begin = rows_.indices.data() + rows_.begin(row);
    const std::int64_t last = std::max<std::int64_t>(rows_.count(row) - 1, 0);
    for (const std::int64_t k : {last, last / 3, last - last / 3}) __builtin_prefetch(begin + k);
#else
    static_cast<void>(row);
#endif
  }

  static constexpr std::uint32_t kAhead = 16;  // rows
  static constexpr std::uint32_t kEmpty = 0xFFFFFFFFU;
  struct Slot {
    std::uint64_t hash;
    std::uint32_t group;
  };
  const LocalRows& rows_;
  std::vector<std::uint32_t> group_of_;
  std::vector<std::uint32_t> firsts_;
  std::vector<Slot> table_;
};

}  // namespace

RowGroups group_rows(const LocalRows& rows) {
  Grouping grouping(rows);
  const auto tolerated = static_cast<std::size_t>(64 + rows.rows() / 8);
  if (!grouping.find(hash_of_few, tolerated)) {
    // Sets that collide here as well only make the search longer.
    grouping.find(hash_of_all, std::numeric_limits<std::size_t>::max());
  }
  return grouping.groups();
}

}  // namespace espalier::kernels
