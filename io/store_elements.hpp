// Numbers as they are stored; for io's own sources.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "framework/error.hpp"
#include "io/element_type.hpp"

namespace espalier::io {

// Calls use(T{}) for the C++ type that is stored as `type`.
template <typename Use>
auto with_type(ElementType type, Use&& use) {
  switch (type.kind) {
    case ElementClass::kUnsigned:
      return type.bytes == 1   ? use(std::uint8_t{})
             : type.bytes == 2 ? use(std::uint16_t{})
             : type.bytes == 4 ? use(std::uint32_t{})
                               : use(std::uint64_t{});
    case ElementClass::kSigned:
      return type.bytes == 1   ? use(std::int8_t{})
             : type.bytes == 2 ? use(std::int16_t{})
             : type.bytes == 4 ? use(std::int32_t{})
                               : use(std::int64_t{});
    default:
      expects(type.kind == ElementClass::kFloat, "a matrix is stored as numbers");
      return type.bytes == 4 ? use(float{}) : use(double{});
  }
}

// The values number(0), number(1), … as they are stored.
template <typename Number>
std::vector<std::byte> store(ElementType type, std::int64_t count, Number&& number) {
  return with_type(type, [&](auto sample) {
    using T = decltype(sample);
    std::vector<std::byte> bytes(static_cast<std::size_t>(count) * sizeof(T));
    for (std::int64_t k = 0; k < count; ++k) {
      const T value = static_cast<T>(number(k));
      std::copy_n(reinterpret_cast<const std::byte*>(&value), sizeof(T),
                  bytes.data() + static_cast<std::size_t>(k) * sizeof(T));
    }
    return bytes;
  });
}

}  // namespace espalier::io
