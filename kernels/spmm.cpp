// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/spmm.hpp"

#include "kernels/spmm_args.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

#include "kernels/blocks-inl.hpp"
#include "kernels/epilogue-inl.hpp"
#include "kernels/rungs-inl.hpp"
#include "kernels/tiles-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

void spmm_rows(const SpmmArgs& a) {
  if (a.narrow != nullptr) {
    run_tiles(a, a.narrow);
  } else {
    run_tiles(a, a.wide);
  }
  if (a.pairs != nullptr) {
    run_blocks(a);
  } else {
    run_rung_blocks(a);
  }
}

void finish_rows(float* panel, int64_t rows, const EpilogueArgs& e) {
  for (int64_t row = 0; row < rows; ++row) finish_row(panel + row * kPanelWidth, e, row);
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace espalier::kernels {

HWY_EXPORT(spmm_rows);
HWY_EXPORT(finish_rows);

namespace {

EpilogueArgs epilogue_args(const Epilogue& epilogue, std::span<const float> bias) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EpilogueArgs args;
  args.bias = bias.empty() ? nullptr : bias.data();
  args.bias_step = bias.size() > 1 ? 1 : 0;
  args.is_relu = epilogue.activation == Activation::kRelu;
  args.lower = args.is_relu ? 0.0F : -kInfinity;
  args.upper = epilogue.has_clamp ? epilogue.clamp : kInfinity;
  args.alpha = epilogue.alpha;
  args.bias_where_nonzero = epilogue.bias_where_nonzero;
  const bool straight = args.is_relu || epilogue.activation == Activation::kIdentity ||
                        epilogue.activation == Activation::kSoftmax;
  args.curve = straight ? 0 : static_cast<int>(epilogue.activation);
  return args;
}

constexpr std::uint32_t kMagnitude = 0x7FFFFFFFU;  // -0.0 counts as zero

// Bound by the panel's way through the caches: plain loops serve.
void take_maxima(const PackedLayer& layer, const float* in, float* out, std::int64_t row_begin,
                 std::int64_t row_end, std::uint32_t* alive_bits) {
  const MaximumRows& rows = layer.maxima();
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    float* const largest = out + row * kPanelWidth;
    const auto begin = rows.pointers[static_cast<std::size_t>(row)];
    const auto end = rows.pointers[static_cast<std::size_t>(row) + 1];
    std::fill_n(largest, kPanelWidth,
                begin == end ? 0.0F : -std::numeric_limits<float>::infinity());
    for (std::int64_t k = begin; k < end; ++k) {
      const float* const x =
          in + std::int64_t{rows.indices[static_cast<std::size_t>(k)]} * kPanelWidth;
      for (int s = 0; s < kPanelWidth; ++s) {
        // Not "<": a NaN replaces a number and stays.
        largest[s] = x[s] <= largest[s] || largest[s] != largest[s] ? largest[s] : x[s];
      }
    }
    apply_epilogue(largest, 1, {}, layer.epilogue());
    for (int s = 0; s < kPanelWidth; ++s) {
      alive_bits[s] |= std::bit_cast<std::uint32_t>(largest[s]) & kMagnitude;
    }
  }
}

}  // namespace

void spmm(const PackedLayer& layer, const float* in, float* out, std::int64_t row_begin,
          std::int64_t row_end, std::uint32_t* alive_bits) {
  if (!layer.maxima().pointers.empty()) {
    take_maxima(layer, in, out, row_begin, row_end, alive_bits);
    return;
  }
  std::array<std::uint32_t, kPanelWidth> bits{};
  const TiledRows& tiled = layer.tiled();
  SpmmArgs args;
  args.tiles = tiled.tiles.data();
  args.tile_count = static_cast<std::int64_t>(tiled.tiles.size());
  args.narrow = tiled.narrow.empty() ? nullptr : tiled.narrow.data();
  args.wide = tiled.wide.data();
  args.values = tiled.values.data();
  const BlockedRows& blocked = layer.blocked();
  args.parts = blocked.parts.data();
  args.part_count = static_cast<std::int64_t>(blocked.parts.size());
  args.pairs = blocked.pairs.empty() ? nullptr : blocked.pairs.data();
  args.rungs = blocked.rungs.data();
  args.rung_rows = blocked.rung_rows.data();
  args.block_indices = blocked.indices.data();
  args.block_values = blocked.values.data();
  args.iso = layer.iso();
  args.in = in;
  args.inputs = layer.inputs();
  args.block_inputs = blocked.block_inputs;
  args.out = out;
  args.row_begin = row_begin;
  args.row_end = row_end;
  args.bits = bits.data();
  args.epilogue = epilogue_args(layer.epilogue(), layer.bias());
  HWY_DYNAMIC_DISPATCH(spmm_rows)(args);
  for (std::size_t s = 0; s < bits.size(); ++s) alive_bits[s] |= bits[s] & kMagnitude;
}

void apply_epilogue(float* panel, std::int64_t rows, std::span<const float> bias,
                    const Epilogue& epilogue) {
  HWY_DYNAMIC_DISPATCH(finish_rows)(panel, rows, epilogue_args(epilogue, bias));
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
