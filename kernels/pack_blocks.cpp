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
    std::stable_sort(slices_.begin(), slices_.end(),
                     [](const Slice& a, const Slice& b) { return a.count < b.count; });
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
  std::vector<Slice> slices_;
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

// Cycles for one panel, fitted to measurements (DESIGN.md): a visit of a row to a block costs its
// accumulators' way from and to the second-level cache, a weight costs its four multiply-adds plus
// what its activations wait for where the block's slice exceeds the first-level cache, or all
// blocks the second-level one.
std::int64_t choose_block_inputs(std::int64_t inputs, std::int64_t members, std::int64_t nnz) {
  constexpr double kVisit = 8, kNear = 2.75, kMiddle = 6, kFar = 20;
  constexpr double kNearInputs = 160, kMiddleInputs = 5120;  // 40 KiB and 1.25 MiB of panel
  constexpr std::array<std::int64_t, 9> kWidths = {128,  192,  256,  384,  512,
                                                   1024, 2048, 4096, 16384};
  if (inputs <= kWidths.front()) return kWidths.front();
  double best = 0;
  std::int64_t chosen = 0;
  for (const std::int64_t width : kWidths) {
    const auto held = static_cast<double>(std::min(width, inputs));
    const double near = std::min(1.0, kNearInputs / held);
    const double middle = std::min(1.0, kMiddleInputs / held);
    const double weight = near * kNear + (1 - near) * (middle * kMiddle + (1 - middle) * kFar);
    const auto blocks = static_cast<double>((inputs + width - 1) / width);
    const auto weights = static_cast<double>(nnz);
    // A middle block without weights of a row is not visited.
    const double visits =
        std::min(blocks * static_cast<double>(members), weights + 2 * static_cast<double>(members));
    const double cycles = visits * kVisit + weights * weight;
    if (chosen == 0 || cycles < best) {
      best = cycles;
      chosen = width;
    }
  }
  return chosen;
}

}  // namespace espalier::kernels
