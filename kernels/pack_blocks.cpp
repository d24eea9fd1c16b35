#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include "kernels/local_rows.hpp"

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

// Builds the parts block by block, remembering how far each row has come.
class Builder {
 public:
  Builder(const LocalRows& rows, std::span<const std::uint32_t> members, std::int64_t width)
      : rows_(rows), members_(members), width_(width), blocks_((rows.inputs + width - 1) / width) {
    next_.reserve(members.size());
    std::int64_t nnz = 0;
    for (const std::uint32_t row : members) {
      next_.push_back(rows.begin(row));
      nnz += rows.count(row);
    }
    blocked_.block_inputs = width;
    blocked_.indices.resize(at(nnz));
    if (!rows.iso) blocked_.values.resize(at(nnz));
    if (rows.iso && rows.nnz() > 0) blocked_.values.assign(2, rows.values[0]);
  }

  BlockedRows build() {
    // Rows without any inputs need a part as well: something must write their zeros.
    blocks_ = std::max<std::int64_t>(blocks_, 1);
    for (std::int64_t block = 0; block < blocks_; ++block) {
      for (std::size_t m = 0; m < members_.size();) m = add_part(block, m);
    }
    return std::move(blocked_);
  }

 private:
  // The part of the stripe that starts at member m; returns the first member of the next stripe.
  std::size_t add_part(std::int64_t block, std::size_t m) {
    BlockPart part{};
    part.first_input = block * width_;
    part.first_weight = written_;
    part.pair_begin = static_cast<std::int64_t>(blocked_.pairs.size());
    part.row_begin = members_[m] / kStripeRows * kStripeRows;
    part.row_end = std::min(part.row_begin + kStripeRows, rows_.rows());
    part.opens = block == 0;
    part.closes = block == blocks_ - 1;
    slices_.clear();
    for (; m < members_.size() && members_[m] < part.row_end; ++m) cut(part, m);
    sort_by_count();
    std::size_t i = 0;
    if (slices_.size() % 2 != 0) add_single(slices_[i++], part.first_input);
    for (; i < slices_.size(); i += 2) add_pair(slices_[i], slices_[i + 1], part.first_input);
    part.pair_end = static_cast<std::int64_t>(blocked_.pairs.size());
    if (part.pair_end > part.pair_begin) blocked_.parts.push_back(part);
    return m;
  }

  void cut(const BlockPart& part, std::size_t m) {
    const std::uint32_t row = members_[m];
    const std::int64_t begin = next_[m];
    const std::int64_t row_end = rows_.begin(row) + rows_.count(row);
    const std::int64_t limit = part.first_input + width_;
    std::int64_t end = begin;
    while (end < row_end && rows_.indices[at(end)] < limit) ++end;
    next_[m] = end;
    if (end == begin && !part.opens && !part.closes) return;
    slices_.push_back({row, static_cast<std::uint32_t>(end - begin), begin});
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

  void put(std::int64_t from, std::int64_t first_input) {
    const std::int64_t index = rows_.indices[at(from)] - first_input;
    blocked_.indices[at(written_)] = static_cast<std::uint16_t>(index);
    if (!rows_.iso) blocked_.values[at(written_)] = rows_.values[at(from)];
    ++written_;
  }

  void add_single(const Slice& slice, std::int64_t first_input) {
    blocked_.pairs.push_back({{kNoRow, slice.row}, 0, slice.count});
    for (std::uint32_t k = 0; k < slice.count; ++k) put(slice.begin + k, first_input);
  }

  void add_pair(const Slice& a, const Slice& b, std::int64_t first_input) {
    blocked_.pairs.push_back({{a.row, b.row}, a.count, b.count - a.count});
    for (std::uint32_t k = 0; k < a.count; ++k) {
      put(a.begin + k, first_input);
      put(b.begin + k, first_input);
    }
    for (std::uint32_t k = a.count; k < b.count; ++k) put(b.begin + k, first_input);
  }

  const LocalRows& rows_;
  std::span<const std::uint32_t> members_;
  std::int64_t width_;
  std::int64_t blocks_;
  std::vector<std::int64_t> next_;  // by member: its first weight not yet packed
  std::vector<Slice> slices_, sorted_;
  std::vector<std::uint32_t> places_;
  std::int64_t written_ = 0;
  BlockedRows blocked_;
};

}  // namespace

BlockedRows pack_blocks(const LocalRows& rows, std::span<const std::uint32_t> members,
                        std::int64_t block_inputs) {
  if (members.empty()) return {};
  constexpr std::int64_t kIndexRange = 65536;
  return Builder(rows, members, std::min(block_inputs, kIndexRange)).build();
}

// Cycles for one panel, as measured (DESIGN.md): a visit of a row to a block costs its
// accumulators' way from and to the second-level cache or beyond; a weight costs its four
// multiply-adds and loads, plus what its activations wait for once the block's slice exceeds the
// caches.
std::int64_t choose_block_inputs(std::int64_t inputs, std::int64_t members, std::int64_t nnz) {
  struct Width {
    std::int64_t inputs;
    double weight_cycles;
  };
  constexpr std::array<Width, 10> kWidths = {{{128, 2.65},
                                              {160, 2.65},
                                              {192, 3.0},
                                              {256, 3.4},
                                              {384, 4.0},
                                              {512, 4.4},
                                              {1024, 5.2},
                                              {2048, 5.7},
                                              {4096, 7.0},
                                              {16384, 15.3}}};
  constexpr std::int64_t kMiddleRows = 5120;  // their sums stay in 1.25 MiB
  const double visit_cycles = members <= kMiddleRows ? 12 : 22;
  const auto weights = static_cast<double>(nnz);
  double best = 0;
  std::int64_t chosen = 0;
  for (const Width& width : kWidths) {
    const auto blocks = static_cast<double>((inputs + width.inputs - 1) / width.inputs);
    const auto rows = static_cast<double>(members);
    // A block between the first and the last is visited only by rows with weights in it.
    const double visits = std::min(blocks * rows, weights + 2 * rows);
    const double cycles = visits * visit_cycles + weights * width.weight_cycles;
    if (chosen == 0 || cycles < best) {
      best = cycles;
      chosen = width.inputs;
    }
    if (width.inputs >= inputs) break;
  }
  return chosen;
}

}  // namespace espalier::kernels
