// Every SIMD target against the reference, to the bit where multiply-adds are fused.
// timeout: 600
#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <limits>

#include "kernels/spmm.hpp"
#include "tests/kernels/spmm_cases.hpp"

namespace espalier::kernels {
namespace {

using namespace spmm_cases;
using testing::bits_of;
using testing::Floats;
using testing::OnTarget;
using testing::Random;

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_spmm)

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
      c.form = {};
      const Result usual = run(c);
      check_case(c, usual, 0);
      for (const std::int64_t width : {0, 100, 128, 512, 4096}) {
        c.form.block_inputs = width;
        for (const std::int64_t pieces : {1, 2, 13, 300}) {
          const Result other = run(c, pieces);
          BOOST_CHECK(same_bits(usual.out, other.out));
          BOOST_CHECK(usual.alive == other.alive);
        }
      }
    }
  }
}

// More rows with the same inputs than go through them together, more inputs than they take at once.
BOOST_AUTO_TEST_CASE(many_rows_with_the_same_many_inputs_match_to_the_bit) {
  constexpr std::int64_t kRows = 1093, kInputs = 2111;
  Random random(6);
  Case c;
  c.rows =
      testing::rows_where(random, kRows, kInputs, false, [](std::int64_t row, std::int64_t column) {
        return row % 2 == 0 ? column % 7 == 0 : column % 5 == 0 && column < 700;
      });
  c.bias.assign(kRows, 0);
  for (float& bias : c.bias) bias = random.symmetric();
  c.in = testing::random_floats(random, kInputs * kPanelWidth);
  for (const Activation activation : {Activation::kRelu, Activation::kSilu}) {
    c.epilogue.activation = activation;
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      const Result whole = run(c);
      check_case(c, whole, 0);
      const Result split = run(c, 3);
      BOOST_CHECK(same_bits(whole.out, split.out));
      BOOST_CHECK(whole.alive == split.alive);
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
