// Numbers as they are stored; for io's own sources.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "framework/error.hpp"
#include "io/element_type.hpp"
#include "kernels/half.hpp"

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

// The bits of a value that a half type holds exactly.
inline std::uint16_t half_bits(ElementType type, float value) {
  const bool brain = type.half == HalfFloat::kBfloat16;
  const std::uint16_t bits =
      brain ? kernels::float_to_bfloat16(value) : kernels::float_to_half(value);
  if ((brain ? kernels::bfloat16_to_float(bits) : kernels::half_to_float(bits)) != value) {
    expects(false, text("a value fits its type, but ", value, " is no ", value_name(type)));
  }
  return bits;
}

template <typename T, typename From>
T element_of(ElementType type, From from) {
  if constexpr (std::is_same_v<T, std::uint16_t> && std::is_same_v<From, float>) {
    if (type.is_half()) {
      return half_bits(type, from);
    }
  }
  return static_cast<T>(from);
}

// The values number(0), number(1), … as they are stored.
template <typename Number>
std::vector<std::byte> store(ElementType type, std::int64_t count, Number&& number) {
  return with_type(type, [&](auto sample) {
    using T = decltype(sample);
    std::vector<std::byte> bytes(static_cast<std::size_t>(count) * sizeof(T));
    for (std::int64_t k = 0; k < count; ++k) {
      const T value = element_of<T>(type, number(k));
      std::copy_n(reinterpret_cast<const std::byte*>(&value), sizeof(T),
                  bytes.data() + static_cast<std::size_t>(k) * sizeof(T));
    }
    return bytes;
  });
}

}  // namespace espalier::io
