// Rows with local indices and without stored zeros: what the packing of every form starts from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/blocks.hpp"
#include "kernels/layout.hpp"

namespace espalier::kernels {

// CSR with local indices. Owns; `values` holds one value for all when iso.
struct LocalRows {
  std::vector<std::int64_t> pointers = {0};
  std::vector<std::uint32_t> indices;
  std::vector<float> values;
  std::int64_t inputs = 0;
  bool iso = false;

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(pointers.size()) - 1; }
  std::int64_t nnz() const noexcept { return pointers.back(); }
  std::int64_t begin(std::uint32_t row) const noexcept { return pointers[row]; }
  std::int64_t count(std::uint32_t row) const noexcept {
    return pointers[row + std::size_t{1}] - pointers[row];
  }
  std::span<const std::uint32_t> row_indices(std::uint32_t row) const noexcept {
    return std::span(indices).subspan(static_cast<std::size_t>(begin(row)),
                                      static_cast<std::size_t>(count(row)));
  }
};

//   throws   std::out_of_range if a used input is missing from `inputs`
LocalRows localize(const CsrRows& rows, std::span<const std::uint32_t> inputs);

// Rows in groups that have exactly the same inputs; members ascend, groups by first member.
//   cost     O(nnz + rows log rows)
std::vector<std::vector<std::uint32_t>> group_rows(const LocalRows& rows);

// Packs the given groups as tiles of at most kTileRows rows.
TiledRows pack_tiles(const LocalRows& rows, std::span<const std::vector<std::uint32_t>> groups);

// Packs `members` (ascending) into blocks of `block_inputs` inputs (at most 65536).
//   cost     O(nnz + members x blocks)
BlockedRows pack_blocks(const LocalRows& rows, std::span<const std::uint32_t> members,
                        std::int64_t block_inputs);

// The block width that the cost model expects to be fastest for rows of `nnz` weights in all.
std::int64_t choose_block_inputs(std::int64_t inputs, std::int64_t members, std::int64_t nnz);

}  // namespace espalier::kernels
