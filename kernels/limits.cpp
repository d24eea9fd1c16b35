// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/limits.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/limits.cpp"
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
  const hn::CappedTag<float, 16> d;
  const auto half = hn::Set(d, 0.5F);
  const auto quarter = hn::Set(d, 0.25F);
  // Starts known only at run time: chains that are provably equal would be computed once.
  hn::Vec<decltype(d)> chains[12];
#pragma GCC unroll 12
  for (int c = 0; c < 12; ++c) chains[c] = hn::Set(d, starts[c]);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < 12; ++c) chains[c] = hn::MulAdd(chains[c], half, quarter);
  }
  auto all = hn::Zero(d);
#pragma GCC unroll 12
  for (int c = 0; c < 12; ++c) all = hn::Add(all, chains[c]);
  *sink = hn::GetLane(all);
  return static_cast<int64_t>(hn::Lanes(d));
}

// Loads all of `data` `rounds` times; the result depends on every load.
//   shapes   count: a multiple of 64
uint32_t load_rounds(const float* data, size_t count, int64_t rounds) {
  const hn::CappedTag<float, 16> df;
  const hn::RebindToUnsigned<decltype(df)> d;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d);
  auto b = a;
  auto c = a;
  auto e = a;
  for (int64_t round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < count; i += 4 * lanes) {
      a = hn::Or(a, hn::BitCast(d, hn::Load(df, data + i)));
      b = hn::Or(b, hn::BitCast(d, hn::Load(df, data + i + lanes)));
      c = hn::Or(c, hn::BitCast(d, hn::Load(df, data + i + 2 * lanes)));
      e = hn::Or(e, hn::BitCast(d, hn::Load(df, data + i + 3 * lanes)));
    }
  }
  return hn::GetLane(hn::Or(hn::Or(a, b), hn::Or(c, e)));
}

// The innermost loop of a row with inputs of its own, `rounds` times over `data`.
//   shapes   count: a multiple of 128
float loading_fma_rounds(const float* data, size_t count, int64_t rounds, float weight) {
  const hn::CappedTag<float, 16> d;
  constexpr int kChains = 8;  // latency 4 x 2 ports
  const size_t lanes = hn::Lanes(d);
  const auto w = hn::Set(d, weight);
  hn::Vec<decltype(d)> sums[kChains];
#pragma GCC unroll 8
  for (int v = 0; v < kChains; ++v) sums[v] = hn::Zero(d);
  for (int64_t round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < count; i += kChains * lanes) {
#pragma GCC unroll 8
      for (int v = 0; v < kChains; ++v) {
        sums[v] = hn::MulAdd(w, hn::Load(d, data + i + static_cast<size_t>(v) * lanes), sums[v]);
      }
    }
  }
  auto all = hn::Zero(d);
#pragma GCC unroll 8
  for (int v = 0; v < kChains; ++v) all = hn::Add(all, sums[v]);
  return hn::GetLane(all);
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <stdexcept>
#include <vector>

namespace espalier::kernels {

HWY_EXPORT(fma_rounds);
HWY_EXPORT(load_rounds);
HWY_EXPORT(loading_fma_rounds);

namespace {

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

// What is done a second, `work` a stretch: the median of stretches over 20 ms, since the best would
// be a moment in which the clock ran ahead, which no kernel can hold.
template <class Stretch>
double median_rate(double work, Stretch stretch) {
  constexpr double kSeconds = 0.02;
  stretch();  // wakes the wide units up
  std::vector<double> rates;
  const double start = thread_seconds();
  for (double now = start; now - start < kSeconds;) {
    const double begin = now;
    stretch();
    now = thread_seconds();
    if (now > begin) rates.push_back(work / (now - begin));
  }
  if (rates.empty()) return 0;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

// The numbers of data that whole turns take; at least one turn.
std::size_t in_whole_turns(std::span<const float> data) {
  constexpr std::size_t kTurn = 128;  // floats of one turn with the widest vectors
  const std::size_t count = data.size() / kTurn * kTurn;
  if (count == 0) throw std::invalid_argument("limits are measured on 128 floats or more");
  return count;
}

}  // namespace

double measure_fma_peak() {
  constexpr std::int64_t kRounds = 100000;  // 0.2 ms where twelve multiply-adds take six cycles
  constexpr std::size_t kChains = 12;
  std::array<float, kChains> starts;
  for (std::size_t i = 0; i < kChains; ++i) starts[i] = 1.0F / static_cast<float>(i + 2);
  float sink = 0;
  std::int64_t lanes = 0;
  const double rate = median_rate(static_cast<double>(kRounds * std::int64_t{kChains}), [&] {
    lanes = HWY_DYNAMIC_DISPATCH(fma_rounds)(kRounds, starts.data(), &sink);
  });
  return sink <= 0 ? 0 : rate * static_cast<double>(lanes);
}

double measure_load_bandwidth(std::span<const float> data) {
  constexpr std::size_t kPassFloats = 1 << 20;  // what one timed pass loads at least
  const std::size_t count = in_whole_turns(data);
  const auto rounds = static_cast<std::int64_t>(std::max<std::size_t>(1, kPassFloats / count));
  std::array<double, 11> rates{};
  std::uint32_t seen = HWY_DYNAMIC_DISPATCH(load_rounds)(data.data(), count, 1);
  for (double& rate : rates) {
    const auto start = std::chrono::steady_clock::now();
    seen |= HWY_DYNAMIC_DISPATCH(load_rounds)(data.data(), count, rounds);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    rate = static_cast<double>(rounds) * static_cast<double>(count) * sizeof(float) / took.count();
  }
  volatile std::uint32_t sink = seen;  // the loads are not to be left out
  static_cast<void>(sink);
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

double measure_loading_fma_peak(std::span<const float> data) {
  constexpr std::size_t kStretchFloats = 1 << 23;  // multiply-adds of one timed stretch
  constexpr float kWeight = 0.5F;
  const std::size_t count = in_whole_turns(data);
  const auto rounds = static_cast<std::int64_t>(std::max<std::size_t>(1, kStretchFloats / count));
  float sink = 0;
  const double rate = median_rate(static_cast<double>(rounds) * static_cast<double>(count), [&] {
    sink += HWY_DYNAMIC_DISPATCH(loading_fma_rounds)(data.data(), count, rounds, kWeight);
  });
  volatile float kept = sink;  // the multiply-adds are not to be left out
  static_cast<void>(kept);
  return rate;
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
