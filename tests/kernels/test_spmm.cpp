// Every SIMD target against the reference, to the bit where multiply-adds are fused.
// timeout: 600
#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "kernels/reference.hpp"
#include "kernels/spmm.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

using testing::bits_of;
using testing::Floats;
using testing::OnTarget;
using testing::Random;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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

float bias_of(const Case& c, std::int64_t row) {
  return c.bias.size() == 1 ? c.bias[0] : c.bias[static_cast<std::size_t>(row)];
}

// Runs a case in `pieces` row ranges.
Result run(const Case& c, std::int64_t pieces = 1) {
  const auto packed =
      pack_layer(c.rows, testing::all_inputs(c.rows.cols), c.bias, c.epilogue, c.form);
  Result result{Floats(packed.rows() * kPanelWidth, 7.0F), {}};
  for (std::int64_t p = 0; p < pieces; ++p) {
    spmm(packed, c.in.data(), result.out.data(), packed.rows() * p / pieces,
         packed.rows() * (p + 1) / pieces, result.alive.data());
  }
  return result;
}

bool same_bits(const Floats& a, const Floats& b) {
  return std::equal(a.span().begin(), a.span().end(), b.span().begin(), b.span().end(),
                    [](float x, float y) { return bits_of(x) == bits_of(y); });
}

// Bias, activation and clamp in plain float32 for what needs no curve.
float finish(float sum, const Case& c, std::int64_t row) {
  if (!c.bias.empty() && (!c.epilogue.bias_where_nonzero || sum != 0)) sum += bias_of(c, row);
  if (c.epilogue.activation == Activation::kRelu && sum < 0) sum = 0;
  if (c.epilogue.activation == Activation::kLeakyRelu && sum < 0) sum *= c.epilogue.alpha;
  return c.epilogue.has_clamp && sum > c.epilogue.clamp ? c.epilogue.clamp : sum;
}

bool needs_curve(Activation a) {
  return a == Activation::kElu || a == Activation::kGelu || a == Activation::kSilu ||
         a == Activation::kSigmoid || a == Activation::kTanh;
}

// The largest |y - exact| in units of what the contract allows; at most 1 is right.
double worst_error(const Case& c, const Floats& out) {
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
std::int64_t first_wrong_bits(const Case& c, const Floats& out) {
  const auto sums = reference::chain(c.rows, c.in.span(), kPanelWidth);
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(sums.size()); ++i) {
    const float y = finish(sums[static_cast<std::size_t>(i)], c, i / kPanelWidth);
    // The sign of a zero behind a ReLU is the instruction's; its magnitude is not.
    const bool zero_pair = y == 0 && out[i] == 0 && c.epilogue.activation == Activation::kRelu;
    if (bits_of(y) != bits_of(out[i]) && !zero_pair) return i;
  }
  return -1;
}

bool alive_bits_right(const Result& r) {
  std::array<bool, kPanelWidth> alive{};
  for (std::size_t i = 0; i < r.out.span().size(); ++i) {
    if (r.out.span()[i] != 0) alive[i % kPanelWidth] = true;
  }
  for (std::size_t s = 0; s < alive.size(); ++s) {
    if (alive[s] != (r.alive[s] != 0)) return false;
  }
  return true;
}

Epilogue random_epilogue(Random& random) {
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

PackForm random_form(Random& random) {
  constexpr std::array kWidths = {0, 0, 1, 3, 16, 50};
  const int width = kWidths[static_cast<std::size_t>(random.below(kWidths.size()))];
  return {random.coin() || random.coin(), width};
}

Case random_case(Random& random) {
  constexpr std::array kDensities = {0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 1.0};
  const std::int64_t rows = random.below(20);
  const std::int64_t cols = 1 + random.below(70);
  const double density = kDensities[static_cast<std::size_t>(random.below(kDensities.size()))];
  Case c;
  c.rows = random.below(4) == 0
               ? testing::grouped_rows(random, rows, cols, 1 + random.below(20), density)
               : testing::random_rows(random, rows, cols, density, random.below(3) == 0);
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

void check_case(const Case& c, const Result& r, int number) {
  if (OnTarget::fuses() && !needs_curve(c.epilogue.activation)) {
    BOOST_CHECK_MESSAGE(first_wrong_bits(c, r.out) == -1, target_name() << ", case " << number);
  }
  if (OnTarget::fuses() || !c.epilogue.bias_where_nonzero) {
    const double worst = worst_error(c, r.out);
    BOOST_CHECK_MESSAGE(worst <= 1, target_name() << ", case " << number << ": " << worst);
  }
  BOOST_CHECK_MESSAGE(alive_bits_right(r), target_name() << ", case " << number);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_spmm)

BOOST_AUTO_TEST_CASE(random_cases_match_the_reference_on_every_target) {
  constexpr int kCases = 3000;
  std::int64_t weights = 0;
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    Random random(1);
    for (int number = 0; number < kCases; ++number) {
      const Case c = random_case(random);
      weights += c.rows.nnz();
      check_case(c, run(c), number);
    }
  }
  BOOST_CHECK_GT(weights, 100 * kCases);
}

BOOST_AUTO_TEST_CASE(fused_targets_agree_to_the_bit_and_so_do_row_splits) {
  Random random(2);
  for (int number = 0; number < 1000; ++number) {
    const Case c = random_case(random);
    Floats first(0);
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      const Result whole = run(c);
      if (OnTarget::fuses() && first.span().empty()) first = run(c).out;
      if (OnTarget::fuses()) BOOST_CHECK(same_bits(first, whole.out));
      const Result split = run(c, 1 + random.below(7));
      BOOST_CHECK(same_bits(whole.out, split.out));
      BOOST_CHECK(whole.alive == split.alive);
    }
  }
}

BOOST_AUTO_TEST_CASE(every_form_of_packing_gives_the_same_bits) {
  Random random(9);
  for (int number = 0; number < 1000; ++number) {
    Case c = random_case(random);
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      c.form = {};
      const Result usual = run(c);
      c.form = random_form(random);
      const Result other = run(c, 1 + random.below(4));
      BOOST_CHECK(same_bits(usual.out, other.out));
      BOOST_CHECK(usual.alive == other.alive);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_sample_does_not_depend_on_its_column) {
  Random random(3);
  for (int number = 0; number < 300; ++number) {
    Case c = random_case(random);
    Case turned = c.rows.cols == 0
                      ? Case{}
                      : Case{c.rows, c.bias, c.epilogue, Floats(c.rows.cols * kPanelWidth)};
    const std::int64_t shift = random.below(kPanelWidth);
    const auto move = [shift](std::int64_t i) {
      return i / kPanelWidth * kPanelWidth + (i + shift) % kPanelWidth;
    };
    for (std::int64_t i = 0; i < c.rows.cols * kPanelWidth; ++i) turned.in[move(i)] = c.in[i];
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      const Result a = run(c);
      const Result b = run(turned);
      std::int64_t wrong = 0;
      for (std::int64_t i = 0; i < c.rows.rows() * kPanelWidth; ++i) {
        if (bits_of(a.out[i]) != bits_of(b.out[move(i)])) ++wrong;
      }
      BOOST_CHECK_EQUAL(wrong, 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(wide_indices_match_the_reference) {
  constexpr std::int64_t kCols = 70000;
  Random random(4);
  Case c;
  c.in = testing::random_floats(random, kCols * kPanelWidth);
  for (int number = 0; number < 12; ++number) {
    c.rows =
        testing::random_rows(random, 9, kCols, number % 2 == 0 ? 0.001 : 0.00002, number % 3 == 0);
    c.epilogue.activation = number % 2 == 0 ? Activation::kIdentity : Activation::kRelu;
    BOOST_REQUIRE_GT(c.rows.nnz(), 0);
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      check_case(c, run(c, 1 + number % 3), number);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_larger_layer_matches_to_the_bit) {
  Random random(5);
  for (const double density : {0.03, 0.3}) {
    Case c;
    c.rows = testing::random_rows(random, 300, 1100, density);
    c.bias = {-0.125F};
    c.epilogue.activation = Activation::kRelu;
    c.in = testing::random_floats(random, 1100 * kPanelWidth);
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      for (const std::int64_t width : {0, 100, 128, 512, 4096}) {
        c.form.block_inputs = width;
        for (const std::int64_t pieces : {1, 2, 13, 300}) check_case(c, run(c, pieces), 0);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(denormals_overflow_and_signed_zero) {
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  constexpr float kHuge = std::numeric_limits<float>::max();
  const std::array kEdges = {0.0F,  -0.0F,  kTiny, -kTiny,      1e-30F,       -1e-30F,
                             kHuge, -kHuge, 1.0F,  0x1.8p-126F, -0x1.8p-126F, 65504.0F};
  Random random(6);
  for (int number = 0; number < 400; ++number) {
    Case c = random_case(random);
    c.epilogue.activation = number % 2 == 0 ? Activation::kIdentity : Activation::kRelu;
    if (c.rows.iso) continue;
    for (float& w : c.rows.values)
      w = kEdges[static_cast<std::size_t>(random.below(kEdges.size()))];
    for (float& x : c.in.span()) x = kEdges[static_cast<std::size_t>(random.below(kEdges.size()))];
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      const Result r = run(c);
      if (OnTarget::fuses()) BOOST_CHECK_EQUAL(first_wrong_bits(c, r.out), -1);
      BOOST_CHECK(alive_bits_right(r));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_challenge_adds_its_bias_only_where_the_sum_is_not_zero) {
  Case c;
  c.rows.cols = 2;
  c.rows.pointers = {0, 1, 2, 2};
  c.rows.indices = {0, 1};
  c.rows.values = {1.0F, 1.0F};
  c.bias = {0.5F};
  c.epilogue.bias_where_nonzero = true;
  c.in = Floats(2 * kPanelWidth);
  c.in[0] = 3.0F;
  c.in[1] = -0.0F;
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    const Result r = run(c);
    BOOST_CHECK_EQUAL(r.out[0], 3.5F);
    for (std::int64_t i = 1; i < 3 * kPanelWidth; ++i) BOOST_CHECK_EQUAL(r.out[i], 0.0F);
    BOOST_CHECK_NE(r.alive[0], 0U);
    for (std::size_t s = 1; s < kPanelWidth; ++s) BOOST_CHECK_EQUAL(r.alive[s], 0U);
  }
}

BOOST_AUTO_TEST_CASE(only_the_rows_asked_for_are_written_and_alive_bits_add_up) {
  Random random(7);
  Case c;
  c.rows = testing::random_rows(random, 40, 50, 0.3);
  c.in = testing::random_floats(random, 50 * kPanelWidth);
  const auto packed = pack_layer(c.rows, testing::all_inputs(50), {}, {});
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    const Result whole = run(c);
    Floats out(40 * kPanelWidth, 7.0F);
    std::array<std::uint32_t, kPanelWidth> alive{};
    alive.fill(1U);
    spmm(packed, c.in.data(), out.data(), 11, 29, alive.data());
    for (std::int64_t i = 0; i < 40 * kPanelWidth; ++i) {
      const bool inside = i >= 11 * kPanelWidth && i < 29 * kPanelWidth;
      BOOST_REQUIRE_EQUAL(bits_of(out[i]), bits_of(inside ? whole.out[i] : 7.0F));
    }
    for (const std::uint32_t bits : alive) BOOST_CHECK_EQUAL(bits & 1U, 1U);
  }
}

BOOST_AUTO_TEST_CASE(the_epilogue_alone_gives_the_same_bits) {
  Random random(8);
  for (int number = 0; number < 500; ++number) {
    Case c = random_case(random);
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      const Result fused = run(c);
      Case plain{c.rows, {}, {}, testing::random_floats(random, 0)};
      plain.in = Floats(c.rows.cols * kPanelWidth);
      std::copy(c.in.span().begin(), c.in.span().end(), plain.in.span().begin());
      Floats sums = run(plain).out;
      apply_epilogue(sums.data(), c.rows.rows(), c.bias, c.epilogue);
      BOOST_CHECK(same_bits(sums, fused.out));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
