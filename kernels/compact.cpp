// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/spmm.hpp"

#include <algorithm>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/compact.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using MoveTag = hn::CappedTag<float, 16>;
using MoveVector = hn::VFromD<MoveTag>;

// What of a target row comes from one vector of the source row.
struct MovedPart {
  decltype(hn::SetTableIndices(MoveTag(), static_cast<const int32_t*>(nullptr))) lanes;
  hn::Mask<MoveTag> moved;
  size_t from, to;  // columns where the vectors begin
  bool whole;       // what it writes beyond its own is written again by the parts that follow
  bool shifted;     // begins before its own columns, so as to end with the row
};

// `kept` lanes of the source's vector at `from` go to the columns begin, begin + 1, …
MovedPart make_part(const int32_t* kept_lanes, size_t kept, size_t from, size_t begin,
                    size_t row_end) {
  const MoveTag d;
  const size_t lanes = hn::Lanes(d);
  MovedPart part;
  part.from = from;
  part.to = HWY_MIN(begin, kPanelWidth - lanes);
  part.shifted = part.to < begin;
  part.whole = !part.shifted && begin + lanes <= row_end;
  int32_t source[16];
  float own[16];
  for (size_t lane = 0; lane < lanes; ++lane) {
    const bool moves = part.to + lane >= begin && part.to + lane < begin + kept;
    own[lane] = moves ? 1.0F : 0.0F;
    source[lane] = moves ? kept_lanes[part.to + lane - begin] : 0;
  }
  part.lanes = hn::SetTableIndices(d, source);
  part.moved = hn::Ne(hn::LoadU(d, own), hn::Zero(d));
  return part;
}

// The parts of a row; returns how many.
size_t make_parts(const uint8_t* columns, int64_t count, int64_t to, MovedPart* parts) {
  const size_t lanes = hn::Lanes(MoveTag());
  const auto end = static_cast<size_t>(to + count);
  auto begin = static_cast<size_t>(to);
  size_t used = 0;
  for (int64_t next = 0; next < count;) {
    const size_t from = columns[next] / lanes * lanes;
    int32_t kept_lanes[16];
    size_t kept = 0;
    for (; next < count && columns[next] < from + lanes; ++next) {
      kept_lanes[kept++] = static_cast<int32_t>(columns[next] - from);
    }
    parts[used++] = make_part(kept_lanes, kept, from, begin, end);
    begin += kept;
  }
  return used;
}

// One row of source and target. All is loaded before the first store: both may be the same row, and
// a load right behind a store that it overlaps waits for it.
HWY_INLINE void move_row(const float* source, float* target, const MovedPart* parts, size_t used,
                         MoveVector* moved) {
  const MoveTag d;
#pragma GCC unroll 8
  for (size_t p = 0; p < used; ++p) {
    const MovedPart& part = parts[p];
    moved[p] = hn::TableLookupLanes(hn::Load(d, source + part.from), part.lanes);
    if (part.whole || part.shifted) continue;
    moved[p] = hn::IfThenElse(part.moved, moved[p], hn::LoadU(d, target + part.to));
  }
#pragma GCC unroll 8
  for (size_t p = 0; p < used; ++p) {
    const MovedPart& part = parts[p];
    if (part.shifted) {
      moved[p] = hn::IfThenElse(part.moved, moved[p], hn::LoadU(d, target + part.to));
    }
    hn::StoreU(moved[p], d, target + part.to);
  }
}

// Rows of kUsed parts, which then stay in registers.
template <size_t kUsed>
HWY_NOINLINE void move_rows(const float* source, float* target, int64_t rows,
                            const MovedPart* parts) {
  MovedPart own[kUsed];  // that no store to the target can change
  std::copy_n(parts, kUsed, own);
  for (int64_t row = 0; row < rows; ++row, source += kPanelWidth, target += kPanelWidth) {
    MoveVector moved[kUsed];
    move_row(source, target, own, kUsed, moved);
  }
}

// By the loop for `used` parts, if there is one: up to as many as there are numbers.
template <size_t... kNumbers>
HWY_INLINE bool move_counted(std::index_sequence<kNumbers...>, const float* source, float* target,
                             int64_t rows, const MovedPart* parts, size_t used) {
  return ((used == kNumbers + 1 && (move_rows<kNumbers + 1>(source, target, rows, parts), true)) ||
          ...);
}

// Moves `count` columns of one source panel to consecutive columns of one target panel, row by row:
// then the parts of a target row are written while its lines are at hand. Lanes are named once for
// all rows; stores are whole vectors, since masked ones take ten times as long on some machines.
//   columns  ascending; source and target point to the panels, `to` is the first target column
void move_some(const float* source, float* target, int64_t rows, const uint8_t* columns,
               int64_t count, int64_t to) {
  MovedPart parts[kPanelWidth];  // a vector has at least one lane
  const size_t used = make_parts(columns, count, to, parts);
  if (move_counted(std::make_index_sequence<8>(), source, target, rows, parts, used)) return;
  for (int64_t row = 0; row < rows; ++row, source += kPanelWidth, target += kPanelWidth) {
    MoveVector moved[kPanelWidth];
    move_row(source, target, parts, used, moved);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <array>

namespace espalier::kernels {

HWY_EXPORT(move_some);

namespace {

// Columns that move together: all from one source panel, all into one target panel.
struct Run {
  std::array<std::uint8_t, kPanelWidth> columns;
  std::size_t count;
};

Run next_run(std::span<const std::int64_t> from, std::size_t begin) {
  Run run{{}, 0};
  const std::int64_t panel = from[begin] / kPanelWidth;
  const std::size_t room = kPanelWidth - begin % kPanelWidth;
  while (run.count < room && begin + run.count < from.size() &&
         from[begin + run.count] / kPanelWidth == panel) {
    run.columns[run.count] = static_cast<std::uint8_t>(from[begin + run.count] % kPanelWidth);
    ++run.count;
  }
  return run;
}

void clear_columns(float* panel, std::int64_t rows, std::size_t begin) {
  for (std::int64_t row = 0; row < rows; ++row) {
    std::fill(panel + row * kPanelWidth + begin, panel + (row + 1) * kPanelWidth, 0.0F);
  }
}

}  // namespace

void move_columns(const float* source, float* target, std::int64_t rows,
                  std::span<const std::uint8_t> from, std::int64_t to) {
  HWY_DYNAMIC_DISPATCH(move_some)
  (source, target, rows, from.data(), static_cast<std::int64_t>(from.size()), to);
}

void compact_panels(const float* source, float* target, std::int64_t rows,
                    std::span<const std::int64_t> from) {
  const std::int64_t panel_floats = rows * kPanelWidth;
  for (std::size_t done = 0; done < from.size();) {
    const Run run = next_run(from, done);
    const auto target_panel = static_cast<std::int64_t>(done / kPanelWidth);
    HWY_DYNAMIC_DISPATCH(move_some)
    (source + from[done] / kPanelWidth * panel_floats, target + target_panel * panel_floats, rows,
     run.columns.data(), static_cast<std::int64_t>(run.count),
     static_cast<std::int64_t>(done % kPanelWidth));
    done += run.count;
  }
  const std::size_t used = from.size() % kPanelWidth;
  if (used == 0) return;
  clear_columns(target + static_cast<std::int64_t>(from.size() / kPanelWidth) * panel_floats, rows,
                used);
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
