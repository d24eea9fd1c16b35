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

// Runs `rounds` x 12 vector multiply-adds; returns how many floats one vector holds.
// Twelve chains: more than latency (4) x ports (2) needs, few enough to leave 16 registers alone.
// The values converge to 1/2, so nothing overflows or turns denormal.
int64_t fma_rounds(int64_t rounds, const float* starts, float* sink) {
  const hn::ScalableTag<float> d;
  const auto half = hn::Set(d, 0.5F);
  const auto quarter = hn::Set(d, 0.25F);
  // Starts known only at run time: chains that are provably equal would be computed once.
  auto a0 = hn::Set(d, starts[0]);
  auto a1 = hn::Set(d, starts[1]);
  auto a2 = hn::Set(d, starts[2]);
  auto a3 = hn::Set(d, starts[3]);
  auto a4 = hn::Set(d, starts[4]);
  auto a5 = hn::Set(d, starts[5]);
  auto a6 = hn::Set(d, starts[6]);
  auto a7 = hn::Set(d, starts[7]);
  auto a8 = hn::Set(d, starts[8]);
  auto a9 = hn::Set(d, starts[9]);
  auto a10 = hn::Set(d, starts[10]);
  auto a11 = hn::Set(d, starts[11]);
  for (int64_t i = 0; i < rounds; ++i) {
    a0 = hn::MulAdd(a0, half, quarter);
    a1 = hn::MulAdd(a1, half, quarter);
    a2 = hn::MulAdd(a2, half, quarter);
    a3 = hn::MulAdd(a3, half, quarter);
    a4 = hn::MulAdd(a4, half, quarter);
    a5 = hn::MulAdd(a5, half, quarter);
    a6 = hn::MulAdd(a6, half, quarter);
    a7 = hn::MulAdd(a7, half, quarter);
    a8 = hn::MulAdd(a8, half, quarter);
    a9 = hn::MulAdd(a9, half, quarter);
    a10 = hn::MulAdd(a10, half, quarter);
    a11 = hn::MulAdd(a11, half, quarter);
  }
  const auto s0 = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
  const auto s1 = hn::Add(hn::Add(a4, a5), hn::Add(a6, a7));
  const auto s2 = hn::Add(hn::Add(a8, a9), hn::Add(a10, a11));
  *sink = hn::GetLane(hn::Add(hn::Add(s0, s1), s2));
  return static_cast<int64_t>(hn::Lanes(d));
}

int floats_of_vector() { return static_cast<int>(hn::Lanes(hn::CappedTag<float, 16>())); }

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <stdexcept>
#include <vector>

namespace espalier::kernels {

HWY_EXPORT(fma_rounds);
HWY_EXPORT(floats_of_vector);

namespace {

constexpr std::size_t kFmaChains = 12;

// Seconds that this thread has run: waiting for a core that others use must not count.
double thread_seconds() {
#ifdef CLOCK_THREAD_CPUTIME_ID
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
#else
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
#endif
}

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

int vector_floats() { return HWY_DYNAMIC_DISPATCH(floats_of_vector)(); }

double measure_fma_peak() {
  constexpr std::int64_t kRounds = 100000;  // 0.2 ms where twelve multiply-adds take six cycles
  constexpr double kSeconds = 0.02;
  std::array<float, kFmaChains> starts;
  for (std::size_t i = 0; i < kFmaChains; ++i) starts[i] = 1.0F / static_cast<float>(i + 2);
  float sink = 0;
  HWY_DYNAMIC_DISPATCH(fma_rounds)(kRounds, starts.data(), &sink);  // wakes the wide units up
  std::vector<double> rates;
  const double start = thread_seconds();
  for (double now = start; now - start < kSeconds;) {
    const double begin = now;
    const auto lanes =
        static_cast<double>(HWY_DYNAMIC_DISPATCH(fma_rounds)(kRounds, starts.data(), &sink));
    now = thread_seconds();
    const double done = static_cast<double>(kRounds) * static_cast<double>(kFmaChains) * lanes;
    if (now > begin) rates.push_back(done / (now - begin));
  }
  if (rates.empty() || sink <= 0) return 0;
  // The median: the best would be a moment in which the clock ran ahead, which no kernel can hold.
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
