// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/spmm.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/compact.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Moves `count` columns of one source panel to consecutive columns of one target panel, row by row:
// then the parts of a target row are written while its lines are at hand.
//   columns  ascending; source and target point to the panels, `to` is the first target column
void move_some(const float* source, float* target, int64_t rows, const uint8_t* columns,
               int64_t count, int64_t to) {
  const hn::CappedTag<float, 16> d;
  using V = hn::VFromD<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  // The vectors of a source row that hold any of the columns.
  struct Part {
    hn::Mask<decltype(d)> wanted, first;
    size_t from, to, end;
  };
  Part parts[kPanelWidth];  // a vector has at least one lane
  size_t used = 0;
  uint8_t keep[kPanelWidth] = {};
  for (int64_t j = 0; j < count; ++j) keep[columns[j]] = 1;
  for (size_t i = 0; i < kPanelWidth; i += lanes) {
    float flags[16];
    size_t kept = 0;
    for (size_t j = 0; j < lanes; ++j) {
      flags[j] = keep[i + j];
      kept += keep[i + j];
    }
    if (kept == 0) continue;
    const auto begin = static_cast<size_t>(to);
    parts[used++] = {hn::Ne(hn::LoadU(d, flags), hn::Zero(d)), hn::FirstN(d, kept), i, begin,
                     begin + kept};
    to += static_cast<int64_t>(kept);
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (size_t p = 0; p < used; ++p) {
      // Compressed in a register: a store that compresses costs several times as much.
      const V moved = hn::Compress(hn::Load(d, source + parts[p].from), parts[p].wanted);
      if (parts[p].to + lanes <= kPanelWidth) {
        hn::BlendedStore(moved, parts[p].first, d, target + parts[p].to);
      } else {
        // Targets without masked stores would rewrite what lies behind the row.
        HWY_ALIGN float last[16];
        hn::Store(moved, d, last);
        for (size_t i = 0; parts[p].to + i < parts[p].end; ++i) target[parts[p].to + i] = last[i];
      }
    }
    source += kPanelWidth;
    target += kPanelWidth;
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
