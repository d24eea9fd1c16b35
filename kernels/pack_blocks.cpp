#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include "kernels/local_rows.hpp"
#include "kernels/pack_runs.hpp"

namespace espalier::kernels {
namespace {

static_assert(std::endian::native == std::endian::little, "pairs of indices are loaded as one");

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// The weights of one row that fall into the block at hand.
struct Slice {
  std::uint32_t row;
  std::uint32_t count;
  std::int64_t begin;
};

// Builds the parts stripe by stripe, remembering how far each row has come.
class Builder {
 public:
  Builder(const LocalRows& rows, std::span<const std::uint32_t> members, const BlockChoice& choice)
      : rows_(rows),
        members_(members),
        choice_(choice),
        width_(choice.inputs),
        stripe_(choice.rungs ? kRungStripeRows : kStripeRows),
        blocks_((rows.inputs + width_ - 1) / width_) {
    next_.reserve(members.size());
    std::int64_t nnz = 0;
    for (const std::uint32_t row : members) {
      next_.push_back(rows.begin(row));
      nnz += rows.count(row);
    }
    const auto slices =
        static_cast<std::int64_t>(members.size()) * std::max<std::int64_t>(blocks_, 1);
    lines_ = std::min<std::int64_t>(nnz / slices / kLineWeights + 2, kMostLines);
    last_ = std::max<std::int64_t>(rows.nnz() - 1, 0);
    blocked_.block_inputs = width_;
    blocked_.stripe_rows = stripe_;
    blocked_.indices.resize(at(nnz));
    if (!rows.iso) blocked_.values.resize(at(nnz));
    if (rows.iso && rows.nnz() > 0) blocked_.values.assign(2, rows.values[0]);
  }

  BlockedRows build() {
    // Rows without any inputs need a part as well: something must write their zeros.
    blocks_ = std::max<std::int64_t>(blocks_, 1);
    // A stripe goes through all blocks before the next one, while its rows are in the caches.
    for (std::size_t begin = 0; begin < members_.size();) {
      std::size_t end = begin;
      for (std::int64_t block = 0; block < blocks_; ++block) end = add_part(block, begin);
      begin = end;
    }
    const std::int64_t group = choice_.group_rows;
    std::stable_sort(blocked_.parts.begin(), blocked_.parts.end(),
                     [group](const BlockPart& a, const BlockPart& b) {
                       const std::int64_t group_a = a.row_begin / group;
                       const std::int64_t group_b = b.row_begin / group;
                       return group_a != group_b ? group_a < group_b
                                                 : a.first_input < b.first_input;
                     });
    if (choice_.rungs) blocked_.rung_rows.resize(blocked_.rung_rows.size() + at(kRungAhead));
    return std::move(blocked_);
  }

 private:
  // The part of the stripe that starts at member m; returns the first member of the next stripe.
  std::size_t add_part(std::int64_t block, std::size_t m) {
    BlockPart part{};
    part.first_input = block * width_;
    part.first_weight = written_;
    part.pair_begin = parts_made();
    part.first_place = std::ssize(blocked_.rung_rows);
    part.row_begin = members_[m] / stripe_ * stripe_;
    part.row_end = std::min(part.row_begin + stripe_, rows_.rows());
    part.opens = block == 0;
    part.closes = block == blocks_ - 1;
    slices_.clear();
    for (; m < members_.size() && members_[m] < part.row_end; ++m) cut(part, m);
    sort_by_count();
    choice_.rungs ? add_rungs(part.first_input) : add_pairs(part.first_input);
    part.pair_end = parts_made();
    if (part.pair_end > part.pair_begin) blocked_.parts.push_back(part);
    return m;
  }

  std::int64_t parts_made() const {
    return choice_.rungs ? std::ssize(blocked_.rungs) : std::ssize(blocked_.pairs);
  }

  void add_pairs(std::int64_t first_input) {
    std::size_t i = 0;
    if (slices_.size() % 2 != 0) add_single(slices_[i++], first_input);
    for (; i < slices_.size(); i += 2) add_pair(slices_[i], slices_[i + 1], first_input);
  }

  void add_rungs(std::int64_t first_input) {
    for (const Slice& slice : slices_) {
      const bool same = &slice != slices_.data() && slice.count == blocked_.rungs.back().count;
      if (!same) blocked_.rungs.push_back({slice.count, 0});
      ++blocked_.rungs.back().rows;
      blocked_.rung_rows.push_back(slice.row);
      put_row(slice.begin, slice.count, first_input);
    }
  }

  void cut(const BlockPart& part, std::size_t m) {
    const std::uint32_t row = members_[m];
    const std::int64_t begin = next_[m];
    const std::int64_t row_end = rows_.begin(row) + rows_.count(row);
    if (m + kAhead < members_.size()) fetch(next_[m + kAhead]);
    const std::int64_t limit = std::min<std::int64_t>(part.first_input + width_, kNoRow);
    const std::int64_t end = begin + count_below(rows_.indices.data() + begin, row_end - begin,
                                                 static_cast<std::uint32_t>(limit));
    next_[m] = end;
    if (end == begin && !part.opens && !part.closes) return;
    slices_.push_back({row, static_cast<std::uint32_t>(end - begin), begin});
  }

  // The slices of a block lie a row apart, where no hardware looks ahead.
  void fetch(std::int64_t from) const {
#if defined(__GNUC__)
    for (std::int64_t line = 0; line < lines_; ++line) {
      const std::int64_t k = std::min(from + line * kLineWeights, last_);
      __builtin_prefetch(rows_.indices.data() + k);
      if (!rows_.iso) __builtin_prefetch(rows_.values.data() + k);
    }
#else
    static_cast<void>(from);
#endif
  }

  // Stable, by counting: a comparing sort took a third of the packing time.
  void sort_by_count() {
    std::uint32_t most = 0;
    for (const Slice& slice : slices_) most = std::max(most, slice.count);
    places_.assign(std::size_t{most} + 2, 0);
    for (const Slice& slice : slices_) ++places_[slice.count + std::size_t{1}];
    for (std::size_t c = 1; c < places_.size(); ++c) places_[c] += places_[c - 1];
    sorted_.resize(slices_.size());
    for (const Slice& slice : slices_) sorted_[places_[slice.count]++] = slice;
    slices_.swap(sorted_);
  }

  void add_single(const Slice& slice, std::int64_t first_input) {
    blocked_.pairs.push_back({{kNoRow, slice.row}, 0, slice.count});
    put_row(slice.begin, slice.count, first_input);
  }

  void add_pair(const Slice& a, const Slice& b, std::int64_t first_input) {
    blocked_.pairs.push_back({{a.row, b.row}, a.count, b.count - a.count});
    put_both(a.begin, b.begin, a.count, first_input);
    put_row(b.begin + a.count, b.count - a.count, first_input);
  }

  void put_row(std::int64_t from, std::uint32_t count, std::int64_t first_input) {
    const std::uint32_t* index = rows_.indices.data() + from;
    std::uint16_t* to = blocked_.indices.data() + written_;
    const auto first = static_cast<std::uint32_t>(first_input);
    for (std::uint32_t k = 0; k < count; ++k) to[k] = static_cast<std::uint16_t>(index[k] - first);
    if (!rows_.iso)
      std::copy_n(rows_.values.data() + from, count, blocked_.values.data() + written_);
    written_ += count;
  }

  // `count` weights of two rows, alternating.
  void put_both(std::int64_t a, std::int64_t b, std::uint32_t count, std::int64_t first_input) {
    const RunPair run = {{rows_.indices.data() + a, rows_.indices.data() + b},
                         {rows_.iso ? nullptr : rows_.values.data() + a,
                          rows_.iso ? nullptr : rows_.values.data() + b},
                         count,
                         static_cast<std::uint32_t>(first_input)};
    interleave(run, blocked_.indices.data() + written_,
               rows_.iso ? nullptr : blocked_.values.data() + written_);
    written_ += std::int64_t{2} * count;
  }

  static constexpr std::size_t kAhead = 12;         // rows; 6 to 24 made no difference
  static constexpr std::int64_t kLineWeights = 16;  // in a line of the cache
  static constexpr std::int64_t kMostLines = 12;
  const LocalRows& rows_;
  std::span<const std::uint32_t> members_;
  BlockChoice choice_;
  std::int64_t width_;
  std::int64_t stripe_;
  std::int64_t blocks_;
  std::int64_t lines_;              // of one slice, as a rule
  std::int64_t last_;               // weight of all rows
  std::vector<std::int64_t> next_;  // by member: its first weight not yet packed
  std::vector<Slice> slices_, sorted_;
  std::vector<std::uint32_t> places_;
  std::int64_t written_ = 0;
  BlockedRows blocked_;
};

}  // namespace

BlockedRows pack_blocks(const LocalRows& rows, std::span<const std::uint32_t> members,
                        const BlockChoice& choice) {
  if (members.empty()) return {};
  constexpr std::int64_t kIndexRange = 65536;
  BlockChoice within = choice;
  within.inputs = std::min(choice.inputs, kIndexRange);
  return Builder(rows, members, within).build();
}

}  // namespace espalier::kernels
