// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/pack_runs.hpp"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pack_runs.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Eight weights, sixteen short indices: runs are short.
using WideTag = hn::CappedTag<uint32_t, 8>;
using FloatTag = hn::RebindToFloat<WideTag>;
using ShortTag = hn::CappedTag<uint16_t, 16>;
constexpr int64_t kPageWeights = 1024;  // in a page of memory
using Zeros = hn::Mask<FloatTag>;

HWY_INLINE int64_t wide_lanes() { return static_cast<int64_t>(hn::Lanes(WideTag())); }
HWY_INLINE int64_t short_lanes() { return static_cast<int64_t>(hn::Lanes(ShortTag())); }

HWY_INLINE int64_t rounded_up(int64_t count, int64_t lanes) {
  return (count + lanes - 1) / lanes * lanes;
}

// One vector of weights; returns their inputs.
template <bool kValues>
HWY_INLINE hn::Vec<WideTag> gather_vector(const RunSource& from, int64_t k, hn::Vec<WideTag> first,
                                          const Runs& to, int64_t place, Zeros& zeros) {
  const WideTag d;
  const FloatTag df;
  const hn::Rebind<uint16_t, WideTag> dn;
  // The next pages: neither addresses nor lines are looked ahead for by hardware across their ends.
  hwy::Prefetch(from.indices + k + kPageWeights);
  if constexpr (kValues) hwy::Prefetch(from.values + k + kPageWeights);
  const auto inputs = hn::LoadU(d, from.indices + k);
  const auto local = hn::BitCast(hn::RebindToSigned<WideTag>(), hn::Sub(inputs, first));
  hn::StoreU(hn::DemoteTo(dn, local), dn, to.indices + place);
  if constexpr (kValues) {
    const auto values = hn::LoadU(df, from.values + k);
    zeros = hn::Or(zeros, hn::Eq(values, hn::Zero(df)));
    hn::StoreU(values, df, to.values + place);
  }
  return inputs;
}

// The weights of a range from one row, the first of all that are left; returns how many.
template <bool kValues>
HWY_INLINE int64_t gather_row(const RunSource& from, const RunCursor& row, const RunRange& range,
                              const Runs& to, int64_t place, Zeros& zeros) {
  const WideTag d;
  const int64_t lanes = wide_lanes();
  const auto first = hn::Set(d, range.first);
  const int64_t left = row.end - row.next;
  int64_t k = 0;
  if (range.rest) {
    const int64_t whole = rounded_up(left, lanes);
    const int64_t by_vectors = row.next + whole <= from.nnz ? whole : left / lanes * lanes;
    for (; k < by_vectors; k += lanes) {
      gather_vector<kValues>(from, row.next + k, first, to, place + k, zeros);
    }
  } else {
    const auto limit = hn::Set(d, range.limit);
    for (; k + lanes <= left; k += lanes) {
      const auto inputs = gather_vector<kValues>(from, row.next + k, first, to, place + k, zeros);
      const auto below = static_cast<int64_t>(hn::CountTrue(d, hn::Lt(inputs, limit)));
      if (below < lanes) return k + below;
    }
  }
  for (; k < left && (range.rest || from.indices[row.next + k] < range.limit); ++k) {
    to.indices[place + k] = static_cast<uint16_t>(from.indices[row.next + k] - range.first);
    if (!kValues) continue;
    const FloatTag df;
    const float value = from.values[row.next + k];
    zeros = hn::Or(zeros, hn::Eq(hn::Set(df, value), hn::Zero(df)));
    to.values[place + k] = value;
  }
  return left < k ? left : k;
}

template <bool kValues>
HWY_INLINE bool gather_by(const RunSource& from, std::span<RunCursor> rows, const RunRange& range,
                          const Runs& to, uint32_t* begins) {
  Zeros zeros = hn::MaskFromVec(hn::Zero(FloatTag()));
  int64_t place = begins[0];
  for (RunCursor& row : rows) {
    const int64_t count = gather_row<kValues>(from, row, range, to, place, zeros);
    row.next += count;
    place += count;
    *++begins = static_cast<uint32_t>(place);
  }
  return hn::AllFalse(FloatTag(), zeros);
}

bool gather(const RunSource& from, std::span<RunCursor> rows, const RunRange& range, const Runs& to,
            uint32_t* begins) {
  return from.values == nullptr ? gather_by<false>(from, rows, range, to, begins)
                                : gather_by<true>(from, rows, range, to, begins);
}

// How many of `count` ascending indices lie below `limit`.
HWY_INLINE int64_t count_below(const uint16_t* indices, int64_t count, uint16_t limit) {
  const ShortTag d;
  const int64_t lanes = short_lanes();
  const auto limits = hn::Set(d, limit);
  for (int64_t k = 0; k < count; k += lanes) {
    const auto there = hn::FirstN(d, static_cast<size_t>(std::min(count - k, lanes)));
    const auto below = hn::And(there, hn::Lt(hn::LoadU(d, indices + k), limits));
    const auto number = static_cast<int64_t>(hn::CountTrue(d, below));
    if (number < lanes) return k + number;
  }
  return count;
}

// Where a run ends cannot be guessed, so a loop that stops there would cost more than it saves:
// the vectors in which nearly every run ends, after `skipped` weights, are looked at whole.
template <int kVectors>
HWY_INLINE int64_t count_run(const uint16_t* indices, int64_t count, uint16_t limit,
                             int64_t skipped) {
  const ShortTag d;
  const int64_t lanes = short_lanes();
  const int64_t looked = kVectors * lanes;
  if (HWY_UNLIKELY(count < skipped + looked)) return count_below(indices, count, limit);
  const auto limits = hn::Set(d, limit);
  size_t below = 0;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    below += hn::CountTrue(d, hn::Lt(hn::LoadU(d, indices + skipped + v * lanes), limits));
  }
  // All or none: the run may end elsewhere.
  if (HWY_UNLIKELY(below - 1 >= static_cast<size_t>(looked) - 1)) {
    return count_below(indices, count, limit);
  }
  return skipped + static_cast<int64_t>(below);
}

template <int kVectors>
HWY_INLINE void cut_by(const uint16_t* indices, std::span<const uint32_t> begins,
                       const RunCuts& cuts, uint32_t* HWY_RESTRICT counts, int64_t stride) {
  const size_t rows = begins.size() - 1;
  const int64_t skipped = std::max<int64_t>(cuts.usual - kVectors * short_lanes() / 2, 0);
  uint32_t next[kCutRows];
  std::copy_n(begins.data(), rows, next);
  for (int64_t block = 1; block < cuts.blocks; ++block, counts += stride) {
    const auto limit = static_cast<uint16_t>(block * cuts.width);
    for (size_t r = 0; r < rows; ++r) {
      const auto count = static_cast<uint32_t>(
          count_run<kVectors>(indices + next[r], begins[r + 1] - next[r], limit, skipped));
      next[r] += count;
      counts[r] = count;
    }
  }
  for (size_t r = 0; r < rows; ++r) counts[r] = begins[r + 1] - next[r];
}

void cut(const uint16_t* indices, std::span<const uint32_t> begins, const RunCuts& cuts,
         uint32_t* counts, int64_t stride) {
  const int64_t vectors = rounded_up(cuts.spread, short_lanes()) / short_lanes();
  if (vectors <= 1) return cut_by<1>(indices, begins, cuts, counts, stride);
  if (vectors <= 2) return cut_by<2>(indices, begins, cuts, counts, stride);
  return cut_by<3>(indices, begins, cuts, counts, stride);
}

// Runs of equal count.
struct EqualRuns {
  uint32_t* next;
  const uint32_t* order;
  int64_t count, number;
};

HWY_INLINE void copy_exactly(const Runs& from, const EqualRuns& runs, const RunTarget& to) {
  for (int64_t r = 0; r < runs.number; ++r) {
    uint32_t& next = runs.next[runs.order[r]];
    const bool beside = to.rows_beside > 1 && r < runs.number / to.rows_beside * to.rows_beside;
    const int64_t step = beside ? to.rows_beside : 1;
    int64_t place = r / step * step * runs.count + r % step;
    for (int64_t k = 0; k < runs.count; ++k, ++next, place += step) {
      to.runs.indices[place] = static_cast<uint16_t>(from.indices[next] - to.first_input);
      if (to.runs.values != nullptr) to.runs.values[place] = from.values[next];
    }
  }
}

// By vectors, kVectors of values for each run, 0: any number. What they hold beyond a run is
// written over by the next one.
template <int kVectors, bool kValues>
HWY_INLINE void copy_equal(const Runs& from, const EqualRuns& runs, const RunTarget& to) {
  const FloatTag df;
  const ShortTag ds;
  const int64_t whole = kVectors > 0 ? kVectors * wide_lanes() : runs.count;
  const auto first = hn::Set(ds, to.first_input);
  uint16_t* indices = to.runs.indices;
  float* values = to.runs.values;
  for (int64_t r = 0; r < runs.number; ++r) {
    uint32_t& next = runs.next[runs.order[r]];
    for (int64_t k = 0; k < whole; k += short_lanes()) {
      hn::StoreU(hn::Sub(hn::LoadU(ds, from.indices + next + k), first), ds, indices + k);
    }
    indices += runs.count;
    if constexpr (kValues) {
      for (int64_t k = 0; k < whole; k += wide_lanes()) {
        hn::StoreU(hn::LoadU(df, from.values + next + k), df, values + k);
      }
      values += runs.count;
    }
    next += static_cast<uint32_t>(runs.count);
  }
}

// Four runs side by side, weight after weight.
template <bool kValues>
HWY_INLINE void copy_four(const Runs& from, const EqualRuns& runs, const RunTarget& to) {
#if HWY_TARGET != HWY_SCALAR
  const FloatTag df;
  const ShortTag ds;
  const auto first = hn::Set(ds, to.first_input);
  const uint32_t* const row = runs.order;
  const uint32_t at[kRowsBeside] = {runs.next[row[0]], runs.next[row[1]], runs.next[row[2]],
                                    runs.next[row[3]]};
  for (int64_t k = 0; k < runs.count; k += short_lanes()) {
    const auto of_row = [&](int r) HWY_ATTR {
      return hn::Sub(hn::LoadU(ds, from.indices + at[r] + k), first);
    };
    hn::StoreInterleaved4(of_row(0), of_row(1), of_row(2), of_row(3), ds,
                          to.runs.indices + kRowsBeside * k);
  }
  for (int64_t k = 0; kValues && k < runs.count; k += wide_lanes()) {
    const auto of_row = [&](int r) HWY_ATTR { return hn::LoadU(df, from.values + at[r] + k); };
    hn::StoreInterleaved4(of_row(0), of_row(1), of_row(2), of_row(3), df,
                          to.runs.values + kRowsBeside * k);
  }
  for (int r = 0; r < kRowsBeside; ++r) runs.next[row[r]] += static_cast<uint32_t>(runs.count);
#else
  copy_exactly(from, runs, to);
#endif
}

// What can stand side by side; returns where the others go.
template <bool kValues>
HWY_INLINE RunTarget copy_beside(const Runs& from, EqualRuns& runs, RunTarget to) {
  for (; runs.number >= kRowsBeside; runs.number -= kRowsBeside, runs.order += kRowsBeside) {
    copy_four<kValues>(from, {runs.next, runs.order, runs.count, kRowsBeside}, to);
    to.runs.indices += kRowsBeside * runs.count;
    if (kValues) to.runs.values += kRowsBeside * runs.count;
  }
  return to;
}

template <bool kValues>
HWY_INLINE void copy_by(const Runs& from, uint32_t* next, const uint32_t* order,
                        std::span<const Rung> rungs, RunTarget to) {
  for (const Rung& rung : rungs) {
    EqualRuns runs = {next, order, rung.count, rung.rows};
    const int64_t weights = runs.count * runs.number;
    const int64_t vectors = rounded_up(runs.count, wide_lanes()) / wide_lanes();
    if (weights + kRowsBeside * kRunSlack > to.room) {
      copy_exactly(from, runs, to);
    } else {
      const RunTarget rest = to.rows_beside > 1 ? copy_beside<kValues>(from, runs, to) : to;
      if (vectors == 1) {
        copy_equal<1, kValues>(from, runs, rest);
      } else if (vectors == 2) {
        copy_equal<2, kValues>(from, runs, rest);
      } else if (vectors == 3) {
        copy_equal<3, kValues>(from, runs, rest);
      } else {
        copy_equal<0, kValues>(from, runs, rest);
      }
    }
    order += rung.rows;
    to.room -= weights;
    to.runs.indices += weights;
    if (kValues) to.runs.values += weights;
  }
}

void copy(const Runs& from, uint32_t* next, const uint32_t* order, std::span<const Rung> rungs,
          const RunTarget& to) {
  to.runs.values == nullptr ? copy_by<false>(from, next, order, rungs, to)
                            : copy_by<true>(from, next, order, rungs, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier::kernels {

HWY_EXPORT(gather);
HWY_EXPORT(cut);
HWY_EXPORT(copy);

bool gather_runs(const RunSource& from, std::span<RunCursor> rows, const RunRange& range,
                 const Runs& to, std::uint32_t* begins) {
  return HWY_DYNAMIC_DISPATCH(gather)(from, rows, range, to, begins);
}

void cut_runs(const std::uint16_t* indices, std::span<const std::uint32_t> begins,
              const RunCuts& cuts, std::uint32_t* counts, std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(cut)(indices, begins, cuts, counts, stride);
}

void copy_runs(const Runs& from, std::uint32_t* next, const std::uint32_t* order,
               std::span<const Rung> rungs, const RunTarget& to) {
  HWY_DYNAMIC_DISPATCH(copy)(from, next, order, rungs, to);
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
