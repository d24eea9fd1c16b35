// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/spmm.hpp"

#include "kernels/spmm_args.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

#include "kernels/bfloat16-inl.hpp"
#include "kernels/dense_parts-inl.hpp"
#include "kernels/epilogue-inl.hpp"
#include "kernels/rungs-inl.hpp"
#include "kernels/tiles-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// The largest input of each row, 0 where there is none; a NaN replaces a number and stays.
void take_maxima(const SpmmArgs& a) {
  const Tag d;
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    const int64_t begin = a.maxima_pointers[row], end = a.maxima_pointers[row + 1];
    float* const out = a.out + row * kPanelWidth;
    for (size_t i = 0; i < kPanelWidth; i += hn::Lanes(d)) {
      const auto input = [&](int64_t k) HWY_ATTR {
        return hn::Load(d, a.in + size_t{a.maxima_indices[k]} * kPanelWidth + i);
      };
      auto most = begin == end ? hn::Zero(d) : input(begin);
      for (int64_t k = begin + 1; k < end; ++k) {
        const auto x = input(k);
        most = hn::IfThenElse(hn::Or(hn::Le(x, most), hn::IsNaN(most)), most, x);
      }
      hn::Store(most, d, out + i);
    }
    finish_row(out, a.epilogue, row);
    or_row_bits(out, a.bits);
  }
}

// Calls run(part, ahead) for every part that has rows of the range, block after block.
template <class Run>
HWY_INLINE void for_each_part(const SpmmArgs& a, Run run) {
  SliceAhead ahead{nullptr, nullptr, 0};
  int64_t block = -1;
  for (int64_t p = 0; p < a.part_count; ++p) {
    const BlockPart& part = a.parts[p];
    if (part.first_input != block) ahead = slice_ahead(a, p);
    block = part.first_input;
    if (part.row_begin >= a.row_end || part.row_end <= a.row_begin) continue;
    run(part, ahead);
  }
}

// Rows with inputs of their own.
void run_parts(const SpmmArgs& a) {
  TameInputs tame;
  for_each_part(a, [&](const BlockPart& part, SliceAhead& ahead) HWY_ATTR {
    if (part.dense) {
      run_dense_part(a, part, tame);
    } else {
      a.iso ? run_rung_part<true>(a, part, ahead) : run_rung_part<false>(a, part, ahead);
    }
  });
}

// The same with bfloat16 weights; a function of its own, as their inputs take room on the stack.
HWY_NOINLINE void run_short_parts(const SpmmArgs& a) {
#ifdef ESPALIER_BFLOAT16_PAIRS
  ShortSlice slice;
#endif
  for_each_part(a, [&](const BlockPart& part, [[maybe_unused]] SliceAhead& ahead) HWY_ATTR {
#ifdef ESPALIER_BFLOAT16_PAIRS
    run_short_part(a, part, slice, ahead);
#else
    run_singly(a, part, a.block_shorts + part.first_weight);
#endif
  });
}

void spmm_rows(const SpmmArgs& a) {
  if (a.maxima_pointers != nullptr) {
    take_maxima(a);
    return;
  }
  run_tiles(a);
  a.block_shorts != nullptr ? run_short_parts(a) : run_parts(a);
}

void finish_panel(float* panel, int64_t rows, const EpilogueArgs& e) {
  for (int64_t row = 0; row < rows; ++row) finish_row(panel + row * kPanelWidth, e, row);
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <array>
#include <limits>

namespace espalier::kernels {

HWY_EXPORT(spmm_rows);
HWY_EXPORT(finish_panel);

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

}  // namespace

void spmm(const PackedLayer& layer, const float* in, float* out, std::int64_t row_begin,
          std::int64_t row_end, std::uint32_t* alive_bits, std::int64_t samples) {
  constexpr std::uint32_t kMagnitude = 0x7FFFFFFFU;  // -0.0 counts as zero
  alignas(64) std::array<std::uint32_t, kPanelWidth> bits{};
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
  args.rungs = blocked.rungs.data();
  args.rung_rows = blocked.rung_rows.data();
  args.rows_beside = blocked.rows_beside;
  args.block_indices = blocked.indices.data();
  args.block_values = blocked.values.data();
  args.least_input = blocked.least_input;
  args.block_shorts = blocked.shorts.empty() ? nullptr : blocked.shorts.data();
  args.dense_tiles = blocked.dense_tiles.data();
  args.dense_values = blocked.dense_values.data();
  const MaximumRows& maxima = layer.maxima();
  args.maxima_pointers = maxima.pointers.empty() ? nullptr : maxima.pointers.data();
  args.maxima_indices = maxima.indices.data();
  args.iso = layer.iso();
  args.in = in;
  args.inputs = layer.inputs();
  args.block_inputs = blocked.block_inputs;
  args.out = out;
  args.row_begin = row_begin;
  args.row_end = row_end;
  args.columns = samples;
  args.bits = bits.data();
  args.epilogue = epilogue_args(layer.epilogue(), layer.bias());
  args.epilogue.rounds = layer.rounds_outputs();
  if (args.epilogue.rounds && args.epilogue.curve == 0) args.epilogue.curve = kOnlyRounds;
  HWY_DYNAMIC_DISPATCH(spmm_rows)(args);
  for (std::size_t s = 0; s < bits.size(); ++s) alive_bits[s] |= bits[s] & kMagnitude;
}

void apply_epilogue(float* panel, std::int64_t rows, std::span<const float> bias,
                    const Epilogue& epilogue) {
  HWY_DYNAMIC_DISPATCH(finish_panel)(panel, rows, epilogue_args(epilogue, bias));
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
