// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/target.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/target.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The bits of (high of x) (high of y) + sum, then (low of x) (low of y) + that, in one instruction;
// `works` is false where the target has none.
void add_pair(uint32_t x, uint32_t y, float* sum, bool* works) {
#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3 && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG)
  *works = __builtin_cpu_supports("avx512bf16") != 0;
  if (!*works) return;
  const hn::FixedTag<float, 4> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  auto sums = hn::Set(d, *sum);
  asm("vdpbf16ps %2, %1, %0" : "+v"(sums.raw) : "v"(hn::Set(du, x).raw), "v"(hn::Set(du, y).raw));
  *sum = hn::GetLane(sums);
#else
  static_cast<void>(x);
  static_cast<void>(y);
  static_cast<void>(sum);
  *works = false;
#endif
}

int floats_of_vector() { return static_cast<int>(hn::Lanes(hn::CappedTag<float, 16>())); }

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <hwy/targets.h>

#include <bit>
#include <cmath>
#include <stdexcept>

namespace espalier::kernels {

HWY_EXPORT(add_pair);
HWY_EXPORT(floats_of_vector);

namespace {

// The machine's own answer, asked before any restriction hides part of it.
std::int64_t machine_targets() {
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

// Sums whose bits tell apart in which order products are added and how often they are rounded.
bool pairs_are_added_in_turn() {
  constexpr std::uint32_t kTries = 256;
  const auto number = [](std::uint32_t bits) { return std::bit_cast<float>(bits & 0xFFFF0000U); };
  std::uint32_t bits = 1;
  const auto draw = [&](std::uint32_t exponents) {  // of two bfloat16 numbers
    bits = bits * 1664525U + 1013904223U;
    const std::uint32_t high = (bits >> 8U) % exponents + 120,
                        low = (bits >> 16U) % exponents + 120;
    return (bits & 0x807F807FU) | high << 23U | low << 7U;
  };
  for (std::uint32_t i = 0; i < kTries; ++i) {
    const std::uint32_t x = draw(16), y = draw(16);
    float sum = std::bit_cast<float>(draw(16)), wanted = sum;
    bool works = false;
    HWY_DYNAMIC_DISPATCH(add_pair)(x, y, &sum, &works);
    wanted = std::fma(number(x << 16U), number(y << 16U), std::fma(number(x), number(y), wanted));
    if (!works || std::bit_cast<std::uint32_t>(sum) != std::bit_cast<std::uint32_t>(wanted)) {
      return false;
    }
  }
  return true;
}

}  // namespace

std::int64_t supported_targets() { return machine_targets(); }

void restrict_targets(std::int64_t targets) {
  if (targets == 0 || (targets & ~machine_targets()) != 0) {
    throw std::invalid_argument("restricting the kernels to targets " + std::to_string(targets) +
                                ": must be some of the supported " +
                                std::to_string(machine_targets()));
  }
  hwy::SetSupportedTargetsForTest(targets);
}

std::string target_name() {
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(targets & -targets);
}

bool multiplies_bfloat16_pairs() { return pairs_are_added_in_turn(); }

int vector_floats() { return HWY_DYNAMIC_DISPATCH(floats_of_vector)(); }

}  // namespace espalier::kernels
#endif  // HWY_ONCE
