// Cutting what is longer than MPI's int counts into pieces.
#pragma once

#include <algorithm>
#include <cstddef>

namespace espalier {

// Calls piece(offset, length) for consecutive pieces of at most `limit` that cover [0, count).
template <typename Piece>
void for_each_piece(std::size_t count, std::size_t limit, Piece&& piece) {
  for (std::size_t offset = 0; offset < count; offset += limit) {
    piece(offset, std::min(limit, count - offset));
  }
}

// The number of calls for_each_piece makes.
constexpr std::size_t piece_count(std::size_t count, std::size_t limit) {
  return count / limit + (count % limit != 0 ? 1 : 0);
}

}  // namespace espalier
