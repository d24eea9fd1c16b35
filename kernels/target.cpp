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

#include "kernels/half.hpp"

namespace espalier::kernels {

HWY_EXPORT(add_pair);
HWY_EXPORT(floats_of_vector);

namespace {

// The machine's own answer, asked before any restriction hides part of it.
std::int64_t machine_targets() {
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
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

// By sums whose bits tell apart in which order products are added and how often they are rounded.
bool multiplies_bfloat16_pairs() {
  constexpr std::uint32_t kTries = 256, kExponents = 16, kLeastExponent = 120;
  const auto high = [](std::uint32_t pair) {
    return bfloat16_to_float(static_cast<std::uint16_t>(pair >> 16U));
  };
  const auto low = [&](std::uint32_t pair) { return high(pair << 16U); };
  std::uint32_t bits = 1;
  const auto draw = [&] {  // two bfloat16 numbers
    bits = bits * 1664525U + 1013904223U;
    const std::uint32_t first = (bits >> 8U) % kExponents + kLeastExponent;
    const std::uint32_t second = (bits >> 16U) % kExponents + kLeastExponent;
    return (bits & 0x807F807FU) | first << 23U | second << 7U;
  };
  for (std::uint32_t i = 0; i < kTries; ++i) {
    const std::uint32_t x = draw(), y = draw();
    const auto before = std::bit_cast<float>(draw());
    float sum = before;
    bool works = false;
    HWY_DYNAMIC_DISPATCH(add_pair)(x, y, &sum, &works);
    const float wanted = std::fma(low(x), low(y), std::fma(high(x), high(y), before));
    if (!works || sum != wanted) return false;
  }
  return true;
}

int vector_floats() { return HWY_DYNAMIC_DISPATCH(floats_of_vector)(); }

}  // namespace espalier::kernels
#endif  // HWY_ONCE
