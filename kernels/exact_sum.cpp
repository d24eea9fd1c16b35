#include "kernels/exact_sum.hpp"

#include <bit>
#include <cmath>

namespace espalier::kernels {
namespace {

constexpr unsigned kLimbBits = 32;
constexpr std::uint64_t kLimbMask = 0xFFFFFFFFU;
constexpr unsigned kMantissaBits = 23;
// The last place of limb 0: that of the square of the smallest float32.
constexpr int kLowestExponent = -298;

// |weight| = mantissa x 2^(exponent - 149).
struct Parts {
  std::uint64_t mantissa;
  unsigned exponent;
};

Parts parts_of(float weight) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(weight) & 0x7FFFFFFFU;
  const std::uint32_t biased = bits >> kMantissaBits;
  const std::uint32_t fraction = bits & ((1U << kMantissaBits) - 1);
  return biased == 0 ? Parts{fraction, 0} : Parts{fraction | 1U << kMantissaBits, biased - 1};
}

// Adds mantissa x 2^position, at most 48 bits, over the limbs it touches.
void add_at(std::span<std::int64_t> limbs, std::uint64_t mantissa, unsigned position) {
  const unsigned limb = position / kLimbBits;
  const unsigned shift = position % kLimbBits;
  const std::uint64_t low = (mantissa & kLimbMask) << shift;
  const std::uint64_t high = ((mantissa >> kLimbBits) << shift) + (low >> kLimbBits);
  limbs[limb] += static_cast<std::int64_t>(low & kLimbMask);
  limbs[limb + 1] += static_cast<std::int64_t>(high & kLimbMask);
  limbs[limb + 2] += static_cast<std::int64_t>(high >> kLimbBits);
}

}  // namespace

void ExactSum::add(std::span<std::int64_t> limbs, float weight) {
  const Parts parts = parts_of(weight);
  add_at(limbs, parts.mantissa, parts.exponent + 149);
}

void ExactSum::add_square(std::span<std::int64_t> limbs, float weight) {
  const Parts parts = parts_of(weight);
  add_at(limbs, parts.mantissa * parts.mantissa, 2 * parts.exponent);
}

double ExactSum::value(std::span<const std::int64_t> limbs) {
  // Carries first, so that equal sums have equal limbs however they came about.
  std::array<std::uint64_t, kLimbs> settled{};
  std::uint64_t carry = 0;
  for (std::size_t i = 0; i < kLimbs; ++i) {
    const std::uint64_t sum = static_cast<std::uint64_t>(limbs[i]) + carry;
    settled[i] = sum & kLimbMask;
    carry = sum >> kLimbBits;
  }
  // The three highest limbs in use hold more bits than a double.
  double value = 0;
  std::size_t used = 0;
  for (std::size_t i = kLimbs; i-- > 0 && used < 3;) {
    used += settled[i] != 0 || used > 0 ? 1 : 0;
    value += std::ldexp(static_cast<double>(settled[i]),
                        kLowestExponent + static_cast<int>(kLimbBits * i));
  }
  return value;
}

}  // namespace espalier::kernels
