// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/spmm.hpp"

#include "kernels/epilogue.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

#include "kernels/epilogue-inl.hpp"

#ifndef ESPALIER_KERNELS_SPMM_ARGS
#define ESPALIER_KERNELS_SPMM_ARGS
namespace espalier::kernels {

struct SpmmArgs {
  const std::int64_t* pointers;
  const std::uint16_t* narrow;  // one of the two is null
  const std::uint32_t* wide;
  const float* values;
  const float* in;
  float* out;
  std::int64_t row_begin;
  std::int64_t row_end;
  std::uint32_t* bits;
  EpilogueArgs epilogue;
};

}  // namespace espalier::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// The plain sums of one row over the whole panel: four vectors of accumulators at a time, each a
// chain from zero in the order of the indices.
template <bool kIso, class Index>
HWY_INLINE void sum_row(const SpmmArgs& a, const Index* indices, int64_t row) {
  const Tag d;
  const size_t lanes = hn::Lanes(d);
  const int64_t begin = a.pointers[row];
  const int64_t end = a.pointers[row + 1];
  float* out = a.out + row * kPanelWidth;
  for (size_t i = 0; i < kPanelWidth; i += 4 * lanes) {
    auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    auto w = hn::Set(d, kIso && begin < end ? a.values[0] : 0.0F);
    for (int64_t k = begin; k < end; ++k) {
      const float* x = a.in + static_cast<size_t>(indices[k]) * kPanelWidth + i;
      if (!kIso) w = hn::Set(d, a.values[k]);
      s0 = hn::MulAdd(w, hn::Load(d, x), s0);
      s1 = hn::MulAdd(w, hn::Load(d, x + lanes), s1);
      s2 = hn::MulAdd(w, hn::Load(d, x + 2 * lanes), s2);
      s3 = hn::MulAdd(w, hn::Load(d, x + 3 * lanes), s3);
    }
    hn::Store(s0, d, out + i);
    hn::Store(s1, d, out + i + lanes);
    hn::Store(s2, d, out + i + 2 * lanes);
    hn::Store(s3, d, out + i + 3 * lanes);
  }
}

template <bool kIso, class Index>
HWY_INLINE void do_rows(const SpmmArgs& a, const Index* indices) {
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    sum_row<kIso>(a, indices, row);
    finish_row(a.out + row * kPanelWidth, a.epilogue, row);
    or_row_bits(a.out + row * kPanelWidth, a.bits);
  }
}

void spmm_rows(const SpmmArgs& a, bool iso) {
  if (a.narrow != nullptr) {
    iso ? do_rows<true>(a, a.narrow) : do_rows<false>(a, a.narrow);
  } else {
    iso ? do_rows<true>(a, a.wide) : do_rows<false>(a, a.wide);
  }
}

void finish_rows(float* panel, int64_t rows, const EpilogueArgs& e) {
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

}  // namespace

void spmm(const PackedLayer& layer, const float* in, float* out, std::int64_t row_begin,
          std::int64_t row_end, std::uint32_t* alive_bits) {
  constexpr std::uint32_t kMagnitude = 0x7FFFFFFFU;  // -0.0 counts as zero
  std::array<std::uint32_t, kPanelWidth> bits{};
  SpmmArgs args{};
  args.pointers = layer.pointers().data();
  args.narrow = layer.narrow_indices().empty() ? nullptr : layer.narrow_indices().data();
  args.wide = layer.wide_indices().data();
  args.values = layer.values().data();
  args.in = in;
  args.out = out;
  args.row_begin = row_begin;
  args.row_end = row_end;
  args.bits = bits.data();
  args.epilogue = epilogue_args(layer.epilogue(), layer.bias());
  HWY_DYNAMIC_DISPATCH(spmm_rows)(args, layer.iso());
  for (std::size_t s = 0; s < bits.size(); ++s) alive_bits[s] |= bits[s] & kMagnitude;
}

void apply_epilogue(float* panel, std::int64_t rows, std::span<const float> bias,
                    const Epilogue& epilogue) {
  HWY_DYNAMIC_DISPATCH(finish_rows)(panel, rows, epilogue_args(epilogue, bias));
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
