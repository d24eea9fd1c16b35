#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <utility>

#include "kernels/half.hpp"
#include "kernels/local_rows.hpp"
#include "kernels/pack_runs.hpp"

namespace espalier::kernels {
namespace {

static_assert(std::endian::native == std::endian::little, "four indices are loaded as one");

constexpr std::int64_t kIndexRange = 65536;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Builds the parts stripe by stripe. A stripe's weights in some blocks are first copied side by
// side, so that memory is read in order; then each block's are picked from there.
class Builder {
 public:
  Builder(const LocalRows& rows, std::span<const std::uint32_t> members, const BlockChoice& choice)
      : rows_(rows),
        from_{rows.indices.data(), rows.iso ? nullptr : rows.values.data(), rows.nnz()},
        members_(members),
        choice_(choice),
        width_(choice.inputs),
        stripe_(choice.stripe_rows),
        // Rows without any inputs need a part as well: something must write their zeros.
        blocks_(std::max<std::int64_t>((rows.inputs + width_ - 1) / width_, 1)) {
    std::int64_t nnz = 0;
    for (const std::uint32_t row : members) nnz += rows.count(row);
    const std::int64_t slices = std::ssize(members) * blocks_;
    expect(static_cast<double>(nnz) / static_cast<double>(slices));
    make_room();
    blocked_.block_inputs = width_;
    blocked_.stripe_rows = stripe_;
    blocked_.rows_beside = choice.layout == BlockLayout::kSingle ? 1 : kRowsBeside;
    blocked_.weights = nnz;
    blocked_.indices.resize(at(nnz + kIndexSlack));
    std::fill_n(blocked_.indices.end() - kIndexSlack, kIndexSlack, std::uint16_t{0});
    if (!rows.iso) blocked_.values.resize(at(nnz));
    if (rows.iso && rows.nnz() > 0) blocked_.values.assign(1, rows.values[0]);
    const std::int64_t visits = std::min(slices, nnz + 2 * std::ssize(members));
    blocked_.rung_rows.reserve(at(visits + kRungAhead));
  }

  // Nothing if a weight is zero.
  std::optional<BlockedRows> build() {
    // A stripe goes through all blocks before the next one, while its rows are in the caches.
    for (std::size_t begin = 0; begin < members_.size(); begin += cursors_.size()) {
      start_stripe(begin);
      for (std::int64_t block = 0; block < blocks_; block += at_once_) {
        const std::int64_t end = std::min(block + at_once_, blocks_);
        if (!gather(block, end)) return std::nullopt;
        for (std::int64_t b = block; b < end; ++b) add_part(b, block);
      }
    }
    const std::int64_t group = choice_.group_rows;
    std::stable_sort(blocked_.parts.begin(), blocked_.parts.end(),
                     [group](const BlockPart& a, const BlockPart& b) {
                       const std::int64_t group_a = a.row_begin / group;
                       const std::int64_t group_b = b.row_begin / group;
                       return group_a != group_b ? group_a < group_b
                                                 : a.first_input < b.first_input;
                     });
    blocked_.rung_rows.resize(blocked_.rung_rows.size() + at(kRungAhead));
    if (choice_.layout == BlockLayout::kShort) shorten();
    return std::move(blocked_);
  }

 private:
  // How many weights most runs have, and how many blocks are gathered at once.
  void expect(double usual) {
    const double density = std::min(usual / static_cast<double>(width_), 1.0);
    cuts_.width = static_cast<std::uint32_t>(width_);
    cuts_.usual = std::llround(usual);
    cuts_.spread = static_cast<std::int64_t>(4 * std::sqrt(usual * (1 - density)));
    const double near = kNearWeights / std::max(usual * static_cast<double>(stripe_), 1.0);
    at_once_ = std::clamp<std::int64_t>(static_cast<std::int64_t>(near), 1,
                                        std::min(blocks_, kIndexRange / width_));
  }

  // The stripe that starts at member m.
  void start_stripe(std::size_t m) {
    row_begin_ = members_[m] / stripe_ * stripe_;
    row_end_ = std::min(row_begin_ + stripe_, rows_.rows());
    stripe_rows_ = members_.data() + m;
    cursors_.clear();
    for (; m < members_.size() && members_[m] < row_end_; ++m) {
      const std::int64_t begin = rows_.begin(members_[m]);
      cursors_.push_back({begin, begin + rows_.count(members_[m])});
    }
    begins_.resize(cursors_.size() + 1);
    sorted_.resize(cursors_.size());
  }

  // Copies the stripe's weights in these blocks side by side and counts them; false if one is zero.
  bool gather(std::int64_t block, std::int64_t end) {
    const RunRange range = {
        static_cast<std::uint32_t>(block * width_),
        static_cast<std::uint32_t>(std::min<std::int64_t>(end * width_, UINT32_MAX)),
        end == blocks_};
    cuts_.blocks = end - block;
    counts_.resize(at(cuts_.blocks) * cursors_.size());
    begins_[0] = 0;
    for (std::size_t m = 0; m < cursors_.size(); m += at(kCutRows)) {
      const std::size_t rows = std::min(at(kCutRows), cursors_.size() - m);
      const std::span<RunCursor> some(cursors_.data() + m, rows);
      if (!gather_runs(from_, some, range, near(), &begins_[m])) return false;
      cut_runs(near_indices_.data(), {&begins_[m], rows + 1}, cuts_, &counts_[m],
               std::ssize(cursors_));
    }
    next_.assign(begins_.begin(), begins_.end() - 1);
    return true;
  }

  // For any stripe's weights in the blocks gathered at once.
  void make_room() {
    std::int64_t most = 0, all = 0;
    for (std::size_t m = 0; m < members_.size(); ++m) {
      if (m > 0 && members_[m] / stripe_ != members_[m - 1] / stripe_) all = 0;
      all += std::min(rows_.count(members_[m]), at_once_ * width_);
      most = std::max(most, all);
    }
    near_indices_.resize(at(most + kRunSlack));
    if (!rows_.iso) near_values_.resize(at(most + kRunSlack));
  }

  Runs near() { return {near_indices_.data(), rows_.iso ? nullptr : near_values_.data()}; }

  void add_part(std::int64_t block, std::int64_t first_block) {
    BlockPart part{};
    part.first_input = block * width_;
    part.first_weight = written_;
    part.begin = std::ssize(blocked_.rungs);
    part.first_place = std::ssize(blocked_.rung_rows);
    part.row_begin = row_begin_;
    part.row_end = row_end_;
    part.opens = block == 0;
    part.closes = block == blocks_ - 1;
    const std::size_t rows = cursors_.size();
    const std::span counts(counts_.data() + at(block - first_block) * rows, rows);
    first_near_ = static_cast<std::uint16_t>((block - first_block) * width_);
    const std::size_t skipped = sort_by_count(counts, part.opens || part.closes);
    const std::span order = std::span(sorted_).subspan(skipped);
    add_rungs(order, counts);
    part.end = std::ssize(blocked_.rungs);
    if (part.end > part.begin) blocked_.parts.push_back(part);
  }

  // Stable, by counting: a comparing sort took a third of the packing time. Returns how many rows
  // in front are not wanted: those without weights, unless all are.
  std::size_t sort_by_count(std::span<const std::uint32_t> counts, bool all) {
    const std::uint32_t most = *std::max_element(counts.begin(), counts.end());
    ends_.assign(std::size_t{most} + 2, 0);
    for (const std::uint32_t count : counts) ++ends_[count + std::size_t{1}];
    for (std::size_t c = 1; c < ends_.size(); ++c) ends_[c] += ends_[c - 1];
    const std::size_t empty = ends_[1];
    for (std::uint32_t m = 0; m < counts.size(); ++m) sorted_[ends_[counts[m]]++] = m;
    return all ? 0 : empty;
  }

  RunTarget target() {
    return {{blocked_.indices.data() + written_,
             rows_.iso ? nullptr : blocked_.values.data() + written_},
            blocked_.weights - written_,
            first_near_,
            blocked_.rows_beside};
  }

  void add_rungs(std::span<const std::uint32_t> order, std::span<const std::uint32_t> counts) {
    const std::size_t first = blocked_.rungs.size(), place = blocked_.rung_rows.size();
    std::int64_t weights = 0;
    for (std::size_t r = 0; r < order.size();) {
      // ends_[c]: where the rows of c weights end in sorted_.
      const std::uint32_t count = counts[order[r]];
      const std::size_t end = order.size() - (sorted_.size() - ends_[count]);
      blocked_.rungs.push_back({count, static_cast<std::uint32_t>(end - r)});
      weights += std::int64_t{count} * static_cast<std::int64_t>(end - r);
      r = end;
    }
    blocked_.rung_rows.resize(place + order.size());
    for (std::size_t r = 0; r < order.size(); ++r) {
      blocked_.rung_rows[place + r] = stripe_rows_[order[r]];
    }
    copy_runs(near(), next_.data(), order.data(), std::span(blocked_.rungs).subspan(first),
              target());
    written_ += weights;
  }

  // The 16 bits of weights that are bfloat16 numbers. With an exponent of a or more they are
  // multiples of 2^(a - 7), so with inputs of 2^(-112 - a) and more all products and their sums are
  // multiples of the smallest normal number, 2^-126.
  void shorten() {
    float least = 1;  // inputs are then no denormals either
    for (const float value : blocked_.values) least = std::min(least, std::abs(value));
    blocked_.least_input = std::ldexp(1.0F, -112 - std::ilogb(least));
    blocked_.shorts.resize(blocked_.values.size());
    std::transform(blocked_.values.begin(), blocked_.values.end(), blocked_.shorts.begin(),
                   float_to_bfloat16);
    blocked_.values = Storage<float>();
  }

  static constexpr std::int64_t kNearWeights = std::int64_t{1} << 18;  // 1.5 MiB
  const LocalRows& rows_;
  RunSource from_;
  std::span<const std::uint32_t> members_;
  BlockChoice choice_;
  std::int64_t width_;
  std::int64_t stripe_;
  std::int64_t blocks_;
  std::int64_t at_once_ = 1;  // blocks
  RunCuts cuts_{};
  // Of the stripe at hand, by place among its rows:
  std::int64_t row_begin_ = 0, row_end_ = 0;
  const std::uint32_t* stripe_rows_ = nullptr;
  std::vector<RunCursor> cursors_;
  // Of the blocks at hand: the weights, where each row's begin and go on, how many lie in a block.
  Storage<std::uint16_t> near_indices_;
  Storage<float> near_values_;
  std::vector<std::uint32_t> begins_, next_;
  Storage<std::uint32_t> counts_;
  std::uint16_t first_near_ = 0;              // input of the block among them
  std::vector<std::uint32_t> sorted_, ends_;  // rows of the block by count, and where counts end
  std::int64_t written_ = 0;
  BlockedRows blocked_;
};

}  // namespace

std::optional<BlockedRows> pack_blocks(const LocalRows& rows,
                                       std::span<const std::uint32_t> members,
                                       const BlockChoice& choice) {
  if (members.empty()) return BlockedRows();
  BlockChoice within = choice;
  within.inputs = std::min(choice.inputs, kIndexRange);
  return Builder(rows, members, within).build();
}

}  // namespace espalier::kernels
