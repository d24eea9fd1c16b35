// Sums of floats that do not depend on their order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace espalier::kernels {

// A sum of float32 magnitudes, or of their squares, kept exactly as a wide fixed-point number: the
// limbs of several sums may be added like any integers, on any rank, in any order.
// Up to 2^30 terms in all.
class ExactSum {
 public:
  // From 2^-298, the square of the smallest float32, to beyond 2^256 x 2^30.
  static constexpr std::size_t kLimbs = 20;

  // A sum lives in kLimbs consecutive int64, zero at first; borrowed.
  static void add(std::span<std::int64_t> limbs, float weight);         // |weight|
  static void add_square(std::span<std::int64_t> limbs, float weight);  // weight^2
  // The sum as a double, less than 2^-50 of itself below the exact one.
  static double value(std::span<const std::int64_t> limbs);
};

}  // namespace espalier::kernels
