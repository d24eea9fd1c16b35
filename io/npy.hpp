// NumPy's .npy files, version 1.0: one array each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/element_type.hpp"

namespace espalier::io {

// The header of a C-ordered little-endian array; its elements follow it directly. Its length is a
// multiple of 64. `type` is a number or fixed-length text.
//   where    pure
//   source   NumPy enhancement proposal 1, "A Simple File Format for NumPy Arrays"
std::string npy_header(ElementType type, const std::vector<std::int64_t>& shape);

}  // namespace espalier::io
