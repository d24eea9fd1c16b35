#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "kernels/local_rows.hpp"

namespace espalier::kernels {
namespace {

// Cycles for one panel, as measured (DESIGN.md): a visit of a row to a block costs its
// accumulators' way from and to the second-level cache or beyond; a weight costs its four
// multiply-adds and loads, plus what its activations wait for once the block's slice exceeds the
// caches.
struct Width {
  std::int64_t inputs;
  double weight_cycles;
};
// Four rows at once, four multiply-adds a weight.
constexpr std::array<Width, 11> kFourRowWidths = {{{96, 2.68},
                                                   {112, 2.66},
                                                   {128, 2.62},
                                                   {160, 2.75},
                                                   {192, 3.05},
                                                   {256, 3.4},
                                                   {384, 4.1},
                                                   {512, 4.8},
                                                   {1024, 5.4},
                                                   {2048, 5.9},
                                                   {16384, 15.3}}};
// The same with two weights an instruction.
constexpr std::array<Width, 6> kShortWidths = {
    {{128, 1.75}, {192, 1.77}, {256, 1.87}, {320, 1.95}, {384, 2.1}, {512, 2.35}}};
static_assert(kShortWidths.back().inputs == kMostShortInputs);
// Eight multiply-adds a weight: four cycles at best.
constexpr std::array<Width, 9> kRungWidths = {{{96, 4.95},
                                               {128, 5.2},
                                               {160, 5.9},
                                               {192, 6.9},
                                               {256, 8.3},
                                               {384, 10.8},
                                               {512, 14.0},
                                               {1024, 22.0},
                                               {4096, 33.0}}};

std::int64_t cheapest(std::span<const Width> widths, std::int64_t inputs, double rows,
                      double weights, double visit_cycles) {
  double best = 0;
  std::int64_t chosen = 0;
  for (const Width& width : widths) {
    const auto blocks = static_cast<double>((inputs + width.inputs - 1) / width.inputs);
    // A row visits the blocks that it has weights in, which lie anywhere, the first and the last.
    const double slices = blocks * rows;
    const double visits =
        std::min(slices, slices * -std::expm1(-weights / std::max(slices, 1.0)) + 2 * rows);
    const double cycles = visits * visit_cycles + weights * width.weight_cycles;
    if (chosen == 0 || cycles < best) {
      best = cycles;
      chosen = width.inputs;
    }
    if (width.inputs >= inputs) break;
  }
  return chosen;
}

// So many rows that their sums and one block's weights take at most `near_bytes`, in whole stripes.
std::int64_t rows_at_once(std::int64_t near_bytes, std::int64_t weights_of_visit) {
  constexpr std::int64_t kRowBytes = 4 * kPanelWidth, kWeightBytes = 6;
  const std::int64_t rows = near_bytes / (kRowBytes + kWeightBytes * weights_of_visit);
  return std::clamp(rows / kStripeRows * kStripeRows, kStripeRows, kGroupRows);
}

}  // namespace

BlockChoice choose_blocks(std::int64_t inputs, std::int64_t members, std::int64_t nnz,
                          BlockLayout layout) {
  const auto rows = static_cast<double>(members);
  const auto weights = static_cast<double>(nnz);
  if (layout == BlockLayout::kSingle) {
    constexpr double kVisitCycles = 45;
    constexpr std::int64_t kNearBytes = std::int64_t{384} << 10;  // of a cache of 512 KiB
    const std::int64_t width = cheapest(kRungWidths, inputs, rows, weights, kVisitCycles);
    const std::int64_t visits = members * ((inputs + width - 1) / width);
    return {layout, width, kStripeRows, rows_at_once(kNearBytes, visits > 0 ? nnz / visits : 0)};
  }
  // Rows whose sums stay in 1.25 MiB; and a panel that is worth fetching again for each group.
  constexpr std::int64_t kMiddleRows = 5120, kNearInputs = 8192;
  const double visit_cycles = members <= kMiddleRows ? 13.5 : 22;
  const std::span<const Width> widths =
      layout == BlockLayout::kShort ? std::span<const Width>(kShortWidths) : kFourRowWidths;
  return {layout, cheapest(widths, inputs, rows, weights, visit_cycles), kStripeRows,
          inputs <= kNearInputs ? kGroupRows : std::int64_t{1} << 40};
}

}  // namespace espalier::kernels
