// The two 16-bit floating-point types: bfloat16 (the upper half of a float32) and IEEE 754 half.
#pragma once

#include <bit>
#include <cstdint>

namespace espalier::kernels {

// Exact.
inline float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

// Rounded to nearest, ties to even; what overflows becomes infinite.
inline std::uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const bool is_nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return static_cast<std::uint16_t>(is_nan ? bits >> 16U | 0x40U
                                           : (bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
}

// Exact.
inline float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16U;
  const std::uint32_t magnitude = bits & 0x7FFFU;
  // The exponent's bias is 15 instead of 127; subnormal numbers come out right by themselves.
  const float scaled = std::bit_cast<float>(magnitude << 13U) * 0x1p112F;
  const std::uint32_t infinite = magnitude >= 0x7C00U ? 0x7F800000U : 0U;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | sign | infinite);
}

// Rounded to nearest, ties to even; what overflows becomes infinite.
inline std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16U & 0x8000U);
  std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  std::uint32_t half = 0;
  if (magnitude > 0x7F800000U) {
    half = 0x7E00U;
  } else if (magnitude >= 0x477FF000U) {
    half = 0x7C00U;
  } else if (magnitude >= 0x38800000U) {
    magnitude += 0xFFFU + (magnitude >> 13U & 1U);
    half = (magnitude - 0x38000000U) >> 13U;
  } else {
    // Subnormal: multiples of 2^-24. Adding 2^23 rounds to a whole number.
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p24F + 0x1p23F) &
           0x7FFFFFU;
  }
  return static_cast<std::uint16_t>(sign | half);
}

}  // namespace espalier::kernels
