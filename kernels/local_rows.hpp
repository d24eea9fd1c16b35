// Rows with local indices: what the packing of every form starts from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/blocks.hpp"
#include "kernels/layout.hpp"
#include "kernels/storage.hpp"

namespace espalier::kernels {

// CSR with local indices: a view of the rows it was made from, or where those hold zeros or are
// numbered otherwise, of copies that it owns. `values` holds one value for all when iso.
struct LocalRows {
  LocalRows() = default;
  LocalRows(LocalRows&&) = default;  // the copies stay where they are, and the views valid
  LocalRows& operator=(LocalRows&&) = default;

  std::span<const std::int64_t> pointers;
  std::span<const std::uint32_t> indices;
  std::span<const float> values;
  std::int64_t inputs = 0;
  bool iso = false;
  Storage<std::int64_t> own_pointers;
  Storage<std::uint32_t> own_indices;
  Storage<float> own_values;

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(pointers.size()) - 1; }
  std::int64_t nnz() const noexcept { return pointers.back(); }
  std::int64_t begin(std::uint32_t row) const noexcept { return pointers[row]; }
  std::int64_t count(std::uint32_t row) const noexcept {
    return pointers[row + std::size_t{1}] - pointers[row];
  }
  std::span<const std::uint32_t> row_indices(std::uint32_t row) const noexcept {
    return indices.subspan(static_cast<std::size_t>(begin(row)),
                           static_cast<std::size_t>(count(row)));
  }
};

// Whether stored zeros are left out; where they are few or none, packing finds them on its way at
// less cost than a look at all values.
enum class StoredZeros { kUnknown, kNone };

//   owns     borrows `rows` as long as the result lives
//   throws   std::out_of_range if a used input is missing from `inputs`
LocalRows localize(const CsrRows& rows, std::span<const std::uint32_t> inputs, StoredZeros zeros);

bool any_zero(std::span<const float> values);

// Rows in groups that have exactly the same inputs; members ascend, groups by first member.
struct RowGroups {
  std::vector<std::uint32_t> members;
  std::vector<std::uint32_t> starts = {0};  // of each group in members, and the end of the last

  std::size_t size() const noexcept { return starts.size() - 1; }
  std::span<const std::uint32_t> group(std::size_t g) const noexcept {
    return std::span(members).subspan(starts[g], starts[g + 1] - starts[g]);
  }
};

//   cost     O(rows) where no two rows resemble each other, O(nnz + rows) at most
RowGroups group_rows(const LocalRows& rows);

// Packs the groups of more than one row as tiles of at most kTileRows rows; nothing if a weight is
// zero.
std::optional<TiledRows> pack_tiles(const LocalRows& rows, const RowGroups& groups);

// How rows stand in blocks: one after another, kRowsBeside at a time side by side, or so with
// weights that are bfloat16 numbers.
enum class BlockLayout { kSingle, kBeside, kShort };

struct BlockChoice {
  BlockLayout layout;
  std::int64_t inputs;       // of a block, at most 65536
  std::int64_t stripe_rows;  // of a part at most
  std::int64_t group_rows;   // that go through all blocks before the next ones
};

// Packs `members` (ascending) into blocks of inputs; nothing if a weight is zero.
//   cost     O(nnz + members x blocks)
std::optional<BlockedRows> pack_blocks(const LocalRows& rows,
                                       std::span<const std::uint32_t> members,
                                       const BlockChoice& choice);

// What the cost model expects to be fastest for `members` rows of `nnz` weights in all.
BlockChoice choose_blocks(std::int64_t inputs, std::int64_t members, std::int64_t nnz,
                          BlockLayout layout);

}  // namespace espalier::kernels
