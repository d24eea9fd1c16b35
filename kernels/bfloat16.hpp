// float32 values with the 8 significant bits of bfloat16.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <span>

namespace espalier::kernels {

// The nearest value that bfloat16 can hold, the even one of two equally near; a NaN stays as it is.
// The product of two such values is exact in float32, so a chain of multiply-adds of them has the
// same bits with and without fused multiply-add.
inline float round_to_bfloat16(float x) {
  if (std::isnan(x)) return x;
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7FFFU + (bits >> 16U & 1U)) & 0xFFFF0000U);
}

inline void round_to_bfloat16(std::span<float> values) {
  for (float& x : values) x = round_to_bfloat16(x);
}

}  // namespace espalier::kernels
