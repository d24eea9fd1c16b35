// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/pack_runs.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pack_runs.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Eight lanes: runs are short, and what is left of them goes one by one.
using RunTag = hn::CappedTag<uint32_t, 8>;

// By whole vectors: where a run ends cannot be guessed, so a loop that stops at the very index
// would cost more than it saves.
int64_t count_run_below(const uint32_t* indices, int64_t count, uint32_t limit) {
  const RunTag d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto limits = hn::Set(d, limit);
  int64_t k = 0;
  for (; k + lanes <= count; k += lanes) {
    const auto below =
        static_cast<int64_t>(hn::CountTrue(d, hn::Lt(hn::LoadU(d, indices + k), limits)));
    if (below < lanes) return k + below;
  }
  while (k < count && indices[k] < limit) ++k;
  return k;
}

void interleave_runs(const RunPair& run, uint16_t* to_indices, float* to_values) {
  const uint32_t* a = run.indices[0];
  const uint32_t* b = run.indices[1];
  int64_t k = 0;
#if HWY_TARGET != HWY_SCALAR  // which has no two halves of a vector
  const RunTag d;
  const hn::Repartition<uint16_t, RunTag> narrow;
  const hn::RebindToFloat<RunTag> df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto first = hn::Set(d, run.first_input);
  for (; k + lanes <= run.count; k += lanes) {
    const auto even = hn::Sub(hn::LoadU(d, a + k), first);
    const auto odd = hn::Sub(hn::LoadU(d, b + k), first);
    hn::StoreU(hn::BitCast(narrow, hn::Or(even, hn::ShiftLeft<16>(odd))), narrow,
               to_indices + 2 * k);
    if (to_values == nullptr) continue;
    hn::StoreInterleaved2(hn::LoadU(df, run.values[0] + k), hn::LoadU(df, run.values[1] + k), df,
                          to_values + 2 * k);
  }
#endif
  for (; k < run.count; ++k) {
    to_indices[2 * k] = static_cast<uint16_t>(a[k] - run.first_input);
    to_indices[2 * k + 1] = static_cast<uint16_t>(b[k] - run.first_input);
    if (to_values == nullptr) continue;
    to_values[2 * k] = run.values[0][k];
    to_values[2 * k + 1] = run.values[1][k];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier::kernels {

HWY_EXPORT(count_run_below);
HWY_EXPORT(interleave_runs);

std::int64_t count_below(const std::uint32_t* indices, std::int64_t count, std::uint32_t limit) {
  return HWY_DYNAMIC_DISPATCH(count_run_below)(indices, count, limit);
}

void interleave(const RunPair& run, std::uint16_t* to_indices, float* to_values) {
  HWY_DYNAMIC_DISPATCH(interleave_runs)(run, to_indices, to_values);
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
