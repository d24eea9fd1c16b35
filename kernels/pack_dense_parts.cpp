#include <algorithm>
#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>

#include "kernels/dense_parts.hpp"

namespace espalier::kernels {
namespace {

// A row is faster as part of a tile, gaps included, from this share of a block's inputs on.
constexpr double kDenseShare = 0.8;
constexpr std::int64_t kHalfTile = kTileRows / 2;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// One row's weights [begin, end) that are nearly all of a block.
struct DenseRow {
  std::int64_t stripe, block;
  std::uint32_t row;
  std::int64_t begin, end;
};

bool same_part(const DenseRow& a, const DenseRow& b) {
  return a.stripe == b.stripe && a.block == b.block;
}

class Finder {
 public:
  Finder(const LocalRows& rows, const BlockChoice& choice)
      : rows_(rows),
        width_(choice.inputs),
        stripe_(choice.stripe_rows),
        last_((rows.inputs - 1) / width_),
        needed_(needed_of(width_)),
        needed_of_last_(needed_of(rows.inputs - last_ * width_)) {}

  // From a block's first weight the one that many further tells whether the block has as many, or
  // else which block may be the next that has.
  void find(std::uint32_t row) {
    std::int64_t k = rows_.begin(row);
    const std::int64_t end = k + rows_.count(row);
    if (!may_hold_any(k, end) || !all_large(k, end)) return;
    while (end - k >= needed_) {
      const std::int64_t block = block_of(k), next = block_of(k + needed_ - 1);
      if (next == block) {
        const std::int64_t past = first_of(block + 1, k + needed_, end);
        add(row, block, k, past);
        k = past;
      } else {
        k = first_of(next, k, k + needed_);
      }
      if (next == last_) break;
    }
    k = first_of(last_, k, end);
    if (end - k >= needed_of_last_) add(row, last_, k, end);
  }

  std::vector<DenseRow> take() {
    std::stable_sort(found_.begin(), found_.end(), [](const DenseRow& a, const DenseRow& b) {
      return std::tie(a.stripe, a.block) < std::tie(b.stripe, b.block);
    });
    return std::move(found_);
  }

 private:
  static std::int64_t needed_of(std::int64_t inputs) {
    return static_cast<std::int64_t>(std::ceil(kDenseShare * static_cast<double>(inputs)));
  }

  // Every needed_ / 2-th weight is asked, each on its own: where a block has needed_, two of them
  // that follow one another are no further apart than a block is wide.
  bool may_hold_any(std::int64_t begin, std::int64_t end) const {
    const auto input = [&](std::int64_t k) { return std::int64_t{rows_.indices[at(k)]}; };
    const std::int64_t step = std::max<std::int64_t>(needed_ / 2, 1);
    bool near = end - begin >= needed_of_last_ && input(end - needed_of_last_) >= last_ * width_;
    for (std::int64_t k = begin; k + step < end; k += step) {
      near |= input(k + step) - input(k) < width_;
    }
    return near;
  }

  std::int64_t block_of(std::int64_t k) const { return rows_.indices[at(k)] / width_; }

  // The first weight of [k, end) in `block` or beyond.
  std::int64_t first_of(std::int64_t block, std::int64_t k, std::int64_t end) const {
    const auto indices = rows_.indices.subspan(at(k), at(end - k));
    return k + (std::lower_bound(indices.begin(), indices.end(), block * width_) - indices.begin());
  }

  // All of a row: a negative zero that its other weights leave would be changed at a gap.
  bool all_large(std::int64_t begin, std::int64_t end) const {
    const auto values = rows_.iso ? rows_.values : rows_.values.subspan(at(begin), at(end - begin));
    return std::all_of(values.begin(), values.end(),
                       [](float weight) { return std::abs(weight) >= kLeastDenseWeight; });
  }

  void add(std::uint32_t row, std::int64_t block, std::int64_t begin, std::int64_t end) {
    found_.push_back({row / stripe_, block, row, begin, end});
  }

  const LocalRows& rows_;
  std::int64_t width_, stripe_, last_, needed_, needed_of_last_;
  std::vector<DenseRow> found_;
};

// `rows`, at most kTileRows of one part, as a tile.
void add_tile(const LocalRows& rows, std::span<const DenseRow> members, std::int64_t width,
              DenseParts& dense) {
  const std::int64_t first = members.front().block * width;
  const auto height = static_cast<std::int64_t>(members.size());
  Tile tile;
  tile.first_value = std::ssize(dense.values);
  tile.count = static_cast<std::uint32_t>(std::min(width, rows.inputs - first));
  tile.height = static_cast<std::uint32_t>(height);
  dense.values.resize(at(tile.first_value + tile.count * height), 0.0F);
  for (std::int64_t r = 0; r < height; ++r) {
    const DenseRow& member = members[at(r)];
    tile.rows[r] = member.row;
    for (std::int64_t k = member.begin; k < member.end; ++k) {
      const std::int64_t input = rows.indices[at(k)] - first;
      dense.values[at(tile.first_value + input * height + r)] = rows.values[rows.iso ? 0 : at(k)];
    }
    dense.weights += member.end - member.begin;
  }
  dense.tiles.push_back(tile);
}

// The rows of one part as tiles of eight, and one of four; returns how many rows that takes.
std::int64_t add_part(const LocalRows& rows, std::span<const DenseRow> members,
                      const BlockChoice& choice, DenseParts& dense) {
  const std::int64_t stripe = choice.stripe_rows;
  const std::int64_t taken = std::ssize(members) / kHalfTile * kHalfTile;
  if (taken == 0) return 0;
  BlockPart part{};
  part.first_input = members.front().block * choice.inputs;
  part.row_begin = members.front().stripe * stripe;
  part.row_end = std::min(part.row_begin + stripe, rows.rows());
  part.dense = true;
  part.begin = std::ssize(dense.tiles);
  for (std::int64_t done = 0; done < taken; done += kTileRows) {
    const std::int64_t height = std::min<std::int64_t>(kTileRows, taken - done);
    add_tile(rows, members.subspan(at(done), at(height)), choice.inputs, dense);
  }
  part.end = std::ssize(dense.tiles);
  dense.parts.push_back(part);
  return taken;
}

// All rows without what was taken of them.
LocalRows without(const LocalRows& rows, std::vector<DenseRow>& taken, std::int64_t weights) {
  std::sort(taken.begin(), taken.end(),
            [](const DenseRow& a, const DenseRow& b) { return a.begin < b.begin; });
  LocalRows rest;
  rest.inputs = rows.inputs;
  rest.iso = rows.iso;
  rest.own_pointers.reserve(rows.pointers.size());
  rest.own_indices.reserve(at(rows.nnz() - weights));
  const auto keep = [&](std::int64_t begin, std::int64_t end) {
    const auto indices = rows.indices.subspan(at(begin), at(end - begin));
    rest.own_indices.insert(rest.own_indices.end(), indices.begin(), indices.end());
    if (rows.iso) return;
    const auto values = rows.values.subspan(at(begin), at(end - begin));
    rest.own_values.insert(rest.own_values.end(), values.begin(), values.end());
  };
  auto next = taken.begin();
  for (std::uint32_t row = 0; row < rows.rows(); ++row) {
    rest.own_pointers.push_back(std::ssize(rest.own_indices));
    std::int64_t begin = rows.begin(row);
    for (; next != taken.end() && next->row == row; ++next) {
      keep(begin, next->begin);
      begin = next->end;
    }
    keep(begin, rows.begin(row) + rows.count(row));
  }
  rest.own_pointers.push_back(std::ssize(rest.own_indices));
  if (rows.iso) rest.own_values.assign(rows.values.begin(), rows.values.end());
  rest.pointers = rest.own_pointers;
  rest.indices = rest.own_indices;
  rest.values = rest.own_values;
  return rest;
}

}  // namespace

DenseParts pack_dense_parts(const LocalRows& rows, std::span<const std::uint32_t> members,
                            const BlockChoice& choice) {
  if (rows.inputs <= choice.inputs) return {};
  Finder finder(rows, choice);
  for (const std::uint32_t row : members) finder.find(row);
  const std::vector<DenseRow> found = finder.take();
  DenseParts dense;
  dense.values.reserve(found.size() * at(choice.inputs));
  std::vector<DenseRow> taken;
  for (auto begin = found.begin(), end = begin; begin != found.end(); begin = end) {
    end = std::find_if_not(begin, found.end(),
                           [&](const DenseRow& other) { return same_part(*begin, other); });
    const std::int64_t rows_taken = add_part(rows, {begin, end}, choice, dense);
    taken.insert(taken.end(), begin, begin + rows_taken);
  }
  if (!taken.empty()) dense.rest = without(rows, taken, dense.weights);
  return dense;
}

void add_dense_parts(BlockedRows& blocked, DenseParts&& dense, std::int64_t group_rows) {
  blocked.dense_tiles = std::move(dense.tiles);
  blocked.dense_values = std::move(dense.values);
  blocked.dense_weights = dense.weights;
  blocked.parts.insert(blocked.parts.end(), dense.parts.begin(), dense.parts.end());
  const auto key = [group_rows](const BlockPart& part) {
    return std::tuple(part.row_begin / group_rows, part.first_input,
                      part.opens   ? 0
                      : part.dense ? 1
                                   : 2);
  };
  std::stable_sort(blocked.parts.begin(), blocked.parts.end(),
                   [&](const BlockPart& a, const BlockPart& b) { return key(a) < key(b); });
}

}  // namespace espalier::kernels
