// The number types in which models store their weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "io/element_type.hpp"

namespace espalier::io {

enum class WeightType : std::uint8_t { kBf16, kF16, kF32, kF64 };

// "BF16", "F16", "F32", "F64", as safetensors spells them; nothing for other types.
std::optional<WeightType> weight_type_of(std::string_view dtype) noexcept;
std::string_view dtype_of(WeightType type) noexcept;
int bytes_of(WeightType type) noexcept;
// As a network file keeps them, and back: half types as they are, all others as float32.
ElementType value_type_of(WeightType type) noexcept;
WeightType weight_type_of(ElementType value_type) noexcept;

// Converts stored weights. float64 is rounded; what is too large becomes infinite.
//   shapes   stored (out.size() x bytes_of(type)), of any alignment
//   where    local, pure
void to_floats(WeightType type, std::span<const std::byte> stored, std::span<float> out);
// The way back: rounded to nearest, ties to even; exact for what to_floats has made, float64
// excepted.
void from_floats(WeightType type, std::span<const float> weights, std::span<std::byte> stored);

}  // namespace espalier::io
