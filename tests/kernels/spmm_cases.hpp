// Small seeded layers for spmm, and what their outputs have to be.
#pragma once

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "kernels/reference.hpp"
#include "kernels/spmm.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels::spmm_cases {

using testing::bits_of;
using testing::Floats;
using testing::OnTarget;
using testing::Random;

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  CsrRows rows;
  std::vector<float> bias;
  Epilogue epilogue;
  Floats in{0};
  PackForm form{};
};

struct Result {
  Floats out{0};
  std::array<std::uint32_t, kPanelWidth> alive{};
};

inline float bias_of(const Case& c, std::int64_t row) {
  return c.bias.size() == 1 ? c.bias[0] : c.bias[static_cast<std::size_t>(row)];
}

// Runs a case in `pieces` row ranges.
inline Result run(const Case& c, std::int64_t pieces = 1) {
  const auto packed =
      pack_layer(c.rows, testing::all_inputs(c.rows.cols), c.bias, c.epilogue, c.form);
  Result result{Floats(packed.rows() * kPanelWidth, 7.0F), {}};
  for (std::int64_t p = 0; p < pieces; ++p) {
    spmm(packed, c.in.data(), result.out.data(), packed.rows() * p / pieces,
         packed.rows() * (p + 1) / pieces, result.alive.data());
  }
  return result;
}

inline bool same_bits(const Floats& a, const Floats& b) {
  return std::equal(a.span().begin(), a.span().end(), b.span().begin(), b.span().end(),
                    [](float x, float y) { return bits_of(x) == bits_of(y); });
}

// Bias, activation and clamp in plain float32 for what needs no curve.
inline float finish(float sum, const Case& c, std::int64_t row) {
  if (!c.bias.empty() && (!c.epilogue.bias_where_nonzero || sum != 0)) sum += bias_of(c, row);
  if (c.epilogue.activation == Activation::kRelu && sum < 0) sum = 0;
  if (c.epilogue.activation == Activation::kLeakyRelu && sum < 0) sum *= c.epilogue.alpha;
  return c.epilogue.has_clamp && sum > c.epilogue.clamp ? c.epilogue.clamp : sum;
}

inline bool needs_curve(Activation a) {
  return a == Activation::kElu || a == Activation::kGelu || a == Activation::kSilu ||
         a == Activation::kSigmoid || a == Activation::kTanh;
}

// The largest |y - exact| in units of what the contract allows; at most 1 is right.
inline double worst_error(const Case& c, const Floats& out) {
  const auto exact = reference::spmm(c.rows, c.bias, c.epilogue, c.in.span(), kPanelWidth);
  double worst = 0;
  for (std::int64_t row = 0; row < c.rows.rows(); ++row) {
    for (std::int64_t s = 0; s < kPanelWidth; ++s) {
      double size = c.bias.empty() ? 0 : std::abs(static_cast<double>(bias_of(c, row)));
      std::int64_t count = 2;
      for (auto k = c.rows.pointers[static_cast<std::size_t>(row)];
           k < c.rows.pointers[static_cast<std::size_t>(row) + 1]; ++k, ++count) {
        const auto column = static_cast<std::int64_t>(c.rows.indices[static_cast<std::size_t>(k)]);
        size += std::abs(static_cast<double>(c.rows.value(k)) *
                         static_cast<double>(c.in[column * kPanelWidth + s]));
      }
      const double allowed = static_cast<double>(count) * 0x1p-24 * size * 1.2 + 1e-6 * size + 1e-6;
      const auto i = row * kPanelWidth + s;
      const double error =
          std::abs(static_cast<double>(out[i]) - exact[static_cast<std::size_t>(i)]);
      worst = std::max(worst, std::isnan(error) ? kInfinity : error / allowed);
    }
  }
  return worst;
}

// Compares with one chain of std::fma and plain float32: returns the first wrong element or -1.
inline std::int64_t first_wrong_bits(const Case& c, const Floats& out) {
  const auto sums = reference::chain(c.rows, c.in.span(), kPanelWidth);
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(sums.size()); ++i) {
    const float y = finish(sums[static_cast<std::size_t>(i)], c, i / kPanelWidth);
    // The sign of a zero behind a ReLU is the instruction's; its magnitude is not.
    const bool zero_pair = y == 0 && out[i] == 0 && c.epilogue.activation == Activation::kRelu;
    if (bits_of(y) != bits_of(out[i]) && !zero_pair) return i;
  }
  return -1;
}

inline bool alive_bits_right(const Result& r) {
  std::array<bool, kPanelWidth> alive{};
  for (std::size_t i = 0; i < r.out.span().size(); ++i) {
    if (r.out.span()[i] != 0) alive[i % kPanelWidth] = true;
  }
  for (std::size_t s = 0; s < alive.size(); ++s) {
    if (alive[s] != (r.alive[s] != 0)) return false;
  }
  return true;
}

inline Epilogue random_epilogue(Random& random) {
  constexpr std::array kAll = {Activation::kIdentity, Activation::kRelu, Activation::kLeakyRelu,
                               Activation::kElu,      Activation::kGelu, Activation::kSilu,
                               Activation::kSigmoid,  Activation::kTanh, Activation::kSoftmax};
  Epilogue e;
  e.activation = kAll[static_cast<std::size_t>(random.below(kAll.size()))];
  e.alpha = 0.25F * static_cast<float>(random.unit());
  e.has_clamp = random.coin();
  e.clamp = 0.5F * random.symmetric();
  e.bias_where_nonzero = random.coin();
  return e;
}

inline PackForm random_form(Random& random) {
  constexpr std::array kWidths = {0, 0, 1, 3, 16, 50};
  const int width = kWidths[static_cast<std::size_t>(random.below(kWidths.size()))];
  constexpr std::array kRowsAtOnce = {0, 1, kRowsBeside};
  return {random.coin() || random.coin(), width,
          kRowsAtOnce[static_cast<std::size_t>(random.below(kRowsAtOnce.size()))]};
}

// Stored zeros take packing another way than rows without.
inline void store_some_zeros(Random& random, CsrRows& rows) {
  if (rows.iso) return;
  for (float& value : rows.values) {
    if (random.below(8) == 0) value = random.coin() ? 0.0F : -0.0F;
  }
}

inline CsrRows random_pattern(Random& random, std::int64_t rows, std::int64_t cols) {
  constexpr std::array kDensities = {0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 1.0};
  const double density = kDensities[static_cast<std::size_t>(random.below(kDensities.size()))];
  const bool iso = random.below(3) == 0;
  switch (random.below(8)) {
    case 0:
    case 1:
      return testing::grouped_rows(random, rows, cols, 1 + random.below(20), density);
    case 2: {
      const std::int64_t width = 1 + random.below(9);
      return testing::rows_where(random, rows, cols, iso, [=](std::int64_t r, std::int64_t c) {
        return std::abs(r * cols / std::max<std::int64_t>(rows, 1) - c) < width;
      });
    }
    case 3: {  // one row full, the others nearly empty
      const std::int64_t full = random.below(rows + 1);
      return testing::rows_where(random, rows, cols, iso, [&](std::int64_t r, std::int64_t) {
        return r == full || random.below(50) == 0;
      });
    }
    case 4: {  // every third row and every fourth input empty
      const std::int64_t shift = random.below(4);
      return testing::rows_where(random, rows, cols, iso, [&](std::int64_t r, std::int64_t c) {
        return r % 3 != 1 && (c + shift) % 4 != 0 && random.unit() < density;
      });
    }
    default:
      return testing::random_rows(random, rows, cols, density, iso);
  }
}

inline Case random_case(Random& random) {
  // A few layers of more than one stripe of rows.
  const std::int64_t rows = random.below(100) == 0 ? 200 + random.below(400) : random.below(20);
  const std::int64_t cols = 1 + random.below(70);
  Case c;
  c.rows = random_pattern(random, rows, cols);
  if (random.below(4) == 0) store_some_zeros(random, c.rows);
  const std::int64_t kind = random.below(3);
  for (std::int64_t i = 0; i < (kind == 2 ? rows : kind); ++i) c.bias.push_back(random.symmetric());
  c.epilogue = random_epilogue(random);
  c.form = random_form(random);
  c.in = testing::random_floats(random, cols * kPanelWidth);
  // Some samples are zero for every neuron, some neurons for every sample.
  for (std::int64_t i = 0; i < cols * kPanelWidth; ++i) {
    if (i % kPanelWidth % 5 == 0 || i / kPanelWidth % 7 == 3)
      c.in[i] = random.coin() ? 0.0F : -0.0F;
  }
  return c;
}

inline void check_case(const Case& c, const Result& r, int number) {
  if (OnTarget::fuses() && !needs_curve(c.epilogue.activation)) {
    BOOST_CHECK_MESSAGE(first_wrong_bits(c, r.out) == -1, target_name() << ", case " << number);
  }
  if (OnTarget::fuses() || !c.epilogue.bias_where_nonzero) {
    const double worst = worst_error(c, r.out);
    BOOST_CHECK_MESSAGE(worst <= 1, target_name() << ", case " << number << ": " << worst);
  }
  BOOST_CHECK_MESSAGE(alive_bits_right(r), target_name() << ", case " << number);
}

}  // namespace espalier::kernels::spmm_cases
