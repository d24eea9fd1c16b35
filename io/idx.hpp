// IDX: the format of MNIST (big-endian header, unsigned bytes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "framework/shard.hpp"

namespace espalier::io {

struct IdxHeader {
  std::vector<std::int64_t> shape;  // [count] or [count, height, width]
  std::int64_t data_offset = 0;
};

// Reads and checks the header of an unsigned-byte IDX file against the file's length.
//   where    local
//   throws   Error: kNoInput, kBadData naming the file, what was found and what would be right
IdxHeader read_idx_header(const std::string& file);

// The bytes of items [range) of the first dimension.
std::vector<std::uint8_t> read_idx(const std::string& file, const IdxHeader& header, Range items);

}  // namespace espalier::io
