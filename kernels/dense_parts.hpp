// Finding and packing what of a layer is nearly dense.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/blocks.hpp"
#include "kernels/local_rows.hpp"

namespace espalier::kernels {

// What dense parts take, and what is left of the rows.
struct DenseParts {
  std::vector<BlockPart> parts;  // by stripe and block; none: nothing is worth it
  std::vector<Tile> tiles;
  Storage<float> values;
  std::int64_t weights = 0;
  LocalRows rest;  // all rows, where there are parts
};

// Finds rows that have nearly all inputs of a block, with the stripes and blocks of pack_blocks,
// and packs them four or eight at a time. Rows in a single block stay as they are.
//   shapes   members ascending
//   owns     `rest` has copies of its own
//   cost     O(nnz / block inputs x log) where there are none, O(nnz) else
DenseParts pack_dense_parts(const LocalRows& rows, std::span<const std::uint32_t> members,
                            const BlockChoice& choice);

// Puts the parts among those of the rest: a sum begins in an opening part, takes its dense inputs
// in their order, and ends in a closing one.
void add_dense_parts(BlockedRows& blocked, DenseParts&& dense, std::int64_t group_rows);

}  // namespace espalier::kernels
