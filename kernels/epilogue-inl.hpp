// Bias, activation, clamp and the alive bits of one row, for each SIMD target.
#if defined(ESPALIER_KERNELS_EPILOGUE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_EPILOGUE_INL
#undef ESPALIER_KERNELS_EPILOGUE_INL
#else
#define ESPALIER_KERNELS_EPILOGUE_INL
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/epilogue.hpp"
#include "kernels/layout.hpp"

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that four vectors never exceed a panel's row.
using Tag = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Tag>;
using BitsTag = hn::RebindToUnsigned<Tag>;
using BitsVector = hn::Vec<BitsTag>;

// How a row's bias is added.
enum class BiasMode { kNone, kAlways, kWhereNonzero };

HWY_INLINE float row_bias(const EpilogueArgs& e, int64_t row) {
  return e.bias == nullptr ? 0.0F : e.bias[row * e.bias_step];
}

// ReLU of a zero sum with a bias that is not positive is zero with and without the bias: such rows
// (all rows of a GraphChallenge layer) need no test. Decided row by row, never by shard.
HWY_INLINE BiasMode bias_mode(const EpilogueArgs& e, float bias) {
  if (e.bias == nullptr) return BiasMode::kNone;
  if (!e.bias_where_nonzero || (e.is_relu && bias <= 0)) return BiasMode::kAlways;
  return BiasMode::kWhereNonzero;
}

HWY_INLINE Vector add_bias(Tag d, Vector sum, BiasMode mode, Vector bias) {
  if (mode == BiasMode::kNone) return sum;
  const auto biased = hn::Add(sum, bias);
  if (mode == BiasMode::kAlways) return biased;
  return hn::IfThenElse(hn::Ne(sum, hn::Zero(d)), biased, sum);
}

// min(upper, max(lower, x)); a NaN stays a NaN and a zero keeps its sign.
HWY_INLINE Vector limit(Vector x, Vector lower, Vector upper) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR
  // The x86 instructions return the second operand when a NaN or two zeros meet.
  return hn::Min(upper, hn::Max(lower, x));
#else
  x = hn::IfThenElse(hn::Lt(x, lower), lower, x);
  return hn::IfThenElse(hn::Gt(x, upper), upper, x);
#endif
}

// exp(x) for x <= 0: 2^n p(r), n = x / ln 2 rounded by adding 1.5 2^23, p the best polynomial of
// degree 6 on |r| <= ln 2 / 2 that starts with 1 + r, relative error 3.1e-9 before rounding. The
// exponent is set with 64 to spare, so that only the last step may leave the normal numbers.
// Relative error 1.1 ulp. A NaN may get lost.
HWY_INLINE Vector exp_below_zero(Tag d, Vector x) {
  const BitsTag du;
  const auto one = hn::Set(d, 1.0F);
  const auto rounder = hn::Set(d, 12582912.0F + 64.0F);
  const auto bounded = hn::Max(x, hn::Set(d, -110.0F));
  const auto shifted = hn::MulAdd(bounded, hn::Set(d, 1.44269504F), rounder);
  const auto n = hn::Sub(shifted, rounder);
  auto r = hn::MulAdd(n, hn::Set(d, -0.693145751953125F), bounded);  // ln 2 in two parts
  r = hn::MulAdd(n, hn::Set(d, -1.42860677e-6F), r);
  auto p = hn::MulAdd(hn::Set(d, 0.001381454F), r, hn::Set(d, 0.008368745F));
  p = hn::MulAdd(p, r, hn::Set(d, 0.04166839F));
  p = hn::MulAdd(p, r, hn::Set(d, 0.16666521F));
  p = hn::MulAdd(p, r, hn::Set(d, 0.49999994F));
  p = hn::MulAdd(hn::MulAdd(p, r, one), r, one);
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(du, shifted));
  return hn::Mul(hn::BitCast(d, hn::Add(hn::BitCast(du, p), exponent)), hn::Set(d, 0x1p-64F));
}

// 1 / (1 + exp(-x)), by exp(-|x|) so that the lower tail keeps its relative precision (4 ulp).
HWY_INLINE Vector sigmoid(Tag d, Vector x) {
  const auto one = hn::Set(d, 1.0F);
  const auto e = exp_below_zero(d, hn::Or(x, hn::Set(d, -0.0F)));
  const auto above = hn::Ge(x, hn::Zero(d));
  return hn::Div(hn::IfThenElse(above, one, e), hn::Add(one, e));
}

// Phi(-t) for t in [0, 15]: exp(-t^2/2) u P(u), u = 1 / (1 + 0.35 t), P interpolating
// Phi(-t) exp(t^2/2) / u at 9 Chebyshev nodes of [1/6.25, 1], relative error 4.1e-8 before
// rounding. t^2 is carried in two parts, else its rounding alone would cost 6e-6 in the tail.
HWY_INLINE Vector normal_tail(Tag d, Vector t) {
  const auto one = hn::Set(d, 1.0F);
  const auto u = hn::Div(one, hn::MulAdd(t, hn::Set(d, 0.35F), one));
  auto p = hn::Set(d, -0.0297704389966F);
  p = hn::MulAdd(p, u, hn::Set(d, 0.146950922175F));
  p = hn::MulAdd(p, u, hn::Set(d, -0.261712669226F));
  p = hn::MulAdd(p, u, hn::Set(d, 0.165801801531F));
  p = hn::MulAdd(p, u, hn::Set(d, -0.0274828895531F));
  p = hn::MulAdd(p, u, hn::Set(d, 0.107262773002F));
  p = hn::MulAdd(p, u, hn::Set(d, 0.119417036073F));
  p = hn::MulAdd(p, u, hn::Set(d, 0.13991480395F));
  p = hn::MulAdd(p, u, hn::Set(d, 0.139618642871F));
  const auto half = hn::Set(d, 0.5F);
  const auto square = hn::Mul(t, t);
  const auto rest = hn::MulSub(t, t, square);
  const auto e = exp_below_zero(d, hn::Neg(hn::Mul(square, half)));
  return hn::Mul(hn::Mul(p, u), hn::NegMulAdd(hn::Mul(rest, half), e, e));
}

// x Phi(x). Within 1e-6 relative with FMA; 1e-5 in the tail below -3 without.
HWY_INLINE Vector gelu(Tag d, Vector x) {
  // Beyond 15 Phi is 0 or 1 in float32.
  const auto bounded = hn::Max(hn::Min(x, hn::Set(d, 15.0F)), hn::Set(d, -15.0F));
  const auto scaled = hn::Mul(bounded, normal_tail(d, hn::Abs(bounded)));
  return hn::IfThenElse(hn::Ge(x, hn::Zero(d)), hn::Sub(x, scaled), scaled);
}

// x / (1 + exp(-x)). 6 ulp; results below 2^-118 come from a denormal exp: within 2^-140 there.
HWY_INLINE Vector silu(Tag d, Vector x) {
  const auto bounded = hn::Max(x, hn::Set(d, -120.0F));  // below: x exp(x) is zero, also at -inf
  return hn::Mul(bounded, sigmoid(d, bounded));
}

HWY_INLINE Vector elu(Tag d, Vector x, float alpha) {
  const auto zero = hn::Zero(d);
  const auto below = hn::Expm1(d, hn::Max(hn::Min(x, zero), hn::Set(d, -110.0F)));
  return hn::IfThenElse(hn::Gt(x, zero), x, hn::Mul(hn::Set(d, alpha), below));
}

HWY_INLINE Vector tanh(Tag d, Vector x) {
  const auto bounded = hn::Max(hn::Min(x, hn::Set(d, 20.0F)), hn::Set(d, -20.0F));
  return hn::Tanh(d, bounded);
}

template <class Curve>
HWY_INLINE void curve_row(float* row, Curve curve) {
  const Tag d;
  for (size_t i = 0; i < kPanelWidth; i += hn::Lanes(d)) {
    const auto x = hn::Load(d, row + i);
    // The curves lose a NaN on its way through integer conversions: it is put back here.
    hn::Store(hn::IfThenElse(hn::IsNaN(x), x, curve(x)), d, row + i);
  }
}

// Applies an activation that is computed value by value, in place. Not inlined: its length beside
// a multiply-add loop would only cost registers, and it is bound by its own arithmetic.
HWY_NOINLINE void activate_row(float* row, const EpilogueArgs& e) {
  const Tag d;
  const float alpha = e.alpha;
  switch (static_cast<Activation>(e.curve)) {
    case Activation::kLeakyRelu:
      return curve_row(row, [=](Vector x) HWY_ATTR {
        return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(hn::Set(d, alpha), x), x);
      });
    case Activation::kElu:
      return curve_row(row, [=](Vector x) HWY_ATTR { return elu(d, x, alpha); });
    case Activation::kGelu:
      return curve_row(row, [=](Vector x) HWY_ATTR { return gelu(d, x); });
    case Activation::kSilu:
      return curve_row(row, [=](Vector x) HWY_ATTR { return silu(d, x); });
    case Activation::kSigmoid:
      return curve_row(row, [=](Vector x) HWY_ATTR { return sigmoid(d, x); });
    case Activation::kTanh:
      return curve_row(row, [=](Vector x) HWY_ATTR { return tanh(d, x); });
    default:
      return;
  }
}

// As round_to_bfloat16 (bfloat16.hpp).
HWY_INLINE Vector to_bfloat16(Tag d, Vector x) {
  const BitsTag du;
  const auto bits = hn::BitCast(du, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1U));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFU)));
  const auto kept = hn::BitCast(d, hn::And(rounded, hn::Set(du, 0xFFFF0000U)));
  return hn::IfThenElse(hn::IsNaN(x), x, kept);
}

// The epilogue of one whole row that holds plain sums.
HWY_INLINE void finish_row(float* row, const EpilogueArgs& e, int64_t index) {
  const Tag d;
  const float bias = row_bias(e, index);
  const BiasMode mode = bias_mode(e, bias);
  const auto biases = hn::Set(d, bias);
  if (e.curve != 0) {
    if (mode != BiasMode::kNone) {
      for (size_t i = 0; i < kPanelWidth; i += hn::Lanes(d)) {
        hn::Store(add_bias(d, hn::Load(d, row + i), mode, biases), d, row + i);
      }
    }
    activate_row(row, e);
  }
  const BiasMode rest = e.curve != 0 ? BiasMode::kNone : mode;
  const auto lower = hn::Set(d, e.lower);
  const auto upper = hn::Set(d, e.upper);
  for (size_t i = 0; i < kPanelWidth; i += hn::Lanes(d)) {
    const auto x = limit(add_bias(d, hn::Load(d, row + i), rest, biases), lower, upper);
    hn::Store(e.rounds ? to_bfloat16(d, x) : x, d, row + i);
  }
}

// Bias and limits of kVectors sums of one row, stored; their bits are ORed into `seen`.
template <int kVectors>
HWY_INLINE void store_row(const EpilogueArgs& e, const Vector* sums, float* out, int64_t row,
                          BitsVector* seen) {
  const Tag d;
  const BitsTag du;
  const size_t lanes = hn::Lanes(d);
  const float bias = row_bias(e, row);
  const BiasMode mode = bias_mode(e, bias);
  const auto biases = hn::Set(d, bias);
  const auto lower = hn::Set(d, e.lower);
  const auto upper = hn::Set(d, e.upper);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const auto y = limit(add_bias(d, sums[v], mode, biases), lower, upper);
    hn::Store(y, d, out + static_cast<size_t>(v) * lanes);
    seen[v] = hn::Or(seen[v], hn::BitCast(du, y));
  }
}

// True if every row's bias is added to every sum: then rows need not be asked one by one.
HWY_INLINE bool adds_always(const EpilogueArgs& e) {
  if (e.bias == nullptr || !e.bias_where_nonzero) return true;
  return e.bias_step == 0 && bias_mode(e, *e.bias) == BiasMode::kAlways;
}

// The same as store_row for kHeight rows where adds_always. Its few instructions count: beside 32
// inputs a row they are an eighth of all.
template <int kHeight, int kVectors>
HWY_INLINE void store_rows(const EpilogueArgs& e, const Vector (*sums)[kVectors], float* out,
                           const uint32_t* rows, BitsVector* seen) {
  static constexpr float kNothing = -0.0F;  // added, it changes no sum
  const Tag d;
  const BitsTag du;
  const size_t lanes = hn::Lanes(d);
  const float* bias = e.bias == nullptr ? &kNothing : e.bias;
  const int64_t step = e.bias == nullptr ? 0 : e.bias_step;
  const auto lower = hn::Set(d, e.lower);
  const auto upper = hn::Set(d, e.upper);
  BitsVector held[kVectors];  // of the even row, so that two rows are one OR
#pragma GCC unroll 16
  for (int r = 0; r < kHeight; ++r) {
    const auto biases = hn::Set(d, bias[rows[r] * step]);
    float* to = out + size_t{rows[r]} * kPanelWidth;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const auto y = limit(hn::Add(sums[r][v], biases), lower, upper);
      hn::Store(y, d, to + static_cast<size_t>(v) * lanes);
      const auto bits = hn::BitCast(du, y);
      if (r % 2 != 0) {
        seen[v] = hn::Or3(seen[v], held[v], bits);
      } else if (r == kHeight - 1) {
        seen[v] = hn::Or(seen[v], bits);
      } else {
        held[v] = bits;
      }
    }
  }
}

// ORs the bits of a row's values, signs included, into `bits`.
HWY_INLINE void or_row_bits(const float* row, uint32_t* bits) {
  const Tag d;
  const BitsTag du;
  for (size_t i = 0; i < kPanelWidth; i += hn::Lanes(d)) {
    const auto y = hn::BitCast(du, hn::Load(d, row + i));
    hn::StoreU(hn::Or(hn::LoadU(du, bits + i), y), du, bits + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
