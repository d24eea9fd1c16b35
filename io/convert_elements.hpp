// Stored elements to the types of memory, with every value checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "io/element_type.hpp"

namespace espalier::io {

// Whether elements of type `from` can be read as To at all: integers as integers, numbers as
// floating point.
template <typename To>
bool is_convertible_to(ElementType from) noexcept;

// Converts stored elements (of either byte order, put right in place) and returns how many fit:
// less than out.size() if one does not. Where an element does not fit, `out` is not what it should
// be.
//   shapes   stored (out.size() x from.bytes), aligned for the element
//   where    local, pure; instantiated for int64, uint32, float and double
//   cost     one pass
template <typename To>
std::size_t convert_elements(ElementType from, std::span<std::byte> stored, std::span<To> out);

// One stored element as a number in text.
std::string spell_element(ElementType type, std::span<const std::byte> stored);

}  // namespace espalier::io
