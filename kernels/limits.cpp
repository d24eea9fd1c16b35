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

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <stdexcept>

namespace espalier::kernels {

HWY_EXPORT(load_rounds);

double measure_load_bandwidth(std::span<const float> data) {
  constexpr std::size_t kStep = 64;             // floats of one turn with the widest vectors
  constexpr std::size_t kPassFloats = 1 << 20;  // what one timed pass loads at least
  const std::size_t count = data.size() / kStep * kStep;
  if (count == 0) throw std::invalid_argument("bandwidth is measured on 64 floats or more");
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

}  // namespace espalier::kernels
#endif  // HWY_ONCE
