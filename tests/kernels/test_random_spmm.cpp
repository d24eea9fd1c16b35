// Ten thousand small layers on every SIMD target against the reference: shapes, densities,
// patterns, forms of packing, cuts and numberings at random; to the bit where multiply-adds are
// fused. timeout: 600
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "kernels/bfloat16.hpp"
#include "kernels/target.hpp"
#include "tests/kernels/spmm_cases.hpp"

namespace espalier::kernels {
namespace {

using namespace spmm_cases;
using testing::Floats;
using testing::OnTarget;
using testing::Random;

constexpr int kCases = 10000 / testing::kOneOf;

// What a gap of a dense part must not touch: zero times these is no zero, and products with the
// last ones underflow to zeros of either sign.
void strew_wild_numbers(Random& random, Floats& in) {
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  constexpr std::array kWild = {kInfinity,
                                -kInfinity,
                                std::numeric_limits<float>::quiet_NaN(),
                                std::numeric_limits<float>::max(),
                                kTiny,
                                -kTiny,
                                -0x1p-149F};
  for (int i = 0; i < 40; ++i) {
    in[random.below(std::ssize(in.span()))] =
        kWild[static_cast<std::size_t>(random.below(kWild.size()))];
  }
}

// All of some samples' inputs this small: their sums are denormal or zeros, some of them negative.
void shrink_some_samples(Random& random, Floats& in, float small) {
  for (std::int64_t i = 0; i < std::ssize(in.span()); ++i) {
    if (i % kPanelWidth % 9 == 4) in[i] = random.coin() ? small : -small;
  }
}

bool same_numbers(const Floats& a, const Floats& b) {
  return std::equal(
      a.span().begin(), a.span().end(), b.span().begin(), b.span().end(), [](float x, float y) {
        return testing::bits_of(x) == testing::bits_of(y) || (std::isnan(x) && std::isnan(y));
      });
}

// The same layer with only the inputs that it uses, as one shard of several holds it.
Result run_on_used_inputs(const Case& c) {
  const auto inputs = used_inputs(c.rows);
  Floats in(static_cast<std::int64_t>(inputs.size()) * kPanelWidth);
  for (std::size_t l = 0; l < inputs.size(); ++l) {
    std::copy_n(c.in.data() + std::size_t{inputs[l]} * kPanelWidth, kPanelWidth,
                in.data() + l * kPanelWidth);
  }
  const auto packed = pack_layer(c.rows, inputs, c.bias, c.epilogue, c.form);
  Result result{Floats(packed.rows() * kPanelWidth, 7.0F), {}};
  spmm(packed, in.data(), result.out.data(), 0, packed.rows(), result.alive.data());
  return result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_random_spmm)

BOOST_AUTO_TEST_CASE(random_cases_match_the_reference_on_every_target) {
  std::int64_t weights = 0;
  std::int64_t zeros = 0;
  std::map<std::string, int> targets;
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    Random random(1);
    for (int number = 0; number < kCases; ++number) {
      const Case c = random_case(random);
      weights += c.rows.nnz();
      zeros += std::count(c.rows.values.begin(), c.rows.values.end(), 0.0F);
      check_case(c, run(c, 1 + random.below(3)), number);
    }
    targets[target_name()] += kCases;
  }
  BOOST_CHECK_GT(weights, std::int64_t{100} * kCases);
  BOOST_CHECK_GT(zeros, kCases);
  BOOST_CHECK_EQUAL(targets.size(), testing::single_targets().size());
}

BOOST_AUTO_TEST_CASE(another_numbering_of_the_inputs_gives_the_same_bits) {
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    Random random(2);
    for (int number = 0; number < kCases / 10; ++number) {
      const Case c = random_case(random);
      const Result all = run(c);
      const Result used = run_on_used_inputs(c);
      BOOST_CHECK(same_bits(all.out, used.out));
      BOOST_CHECK(all.alive == used.alive);
    }
  }
}

BOOST_AUTO_TEST_CASE(bfloat16_gives_the_bits_of_rounded_weights_and_rounded_outputs) {
  std::int64_t changed = 0;
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    Random random(4);
    for (int number = 0; number < kCases / 10; ++number) {
      Case c = random_case(random);
      round_to_bfloat16(c.in.span());
      c.form.round_weights = c.form.round_outputs = true;
      const Result found = run(c, 1 + random.below(3));
      const std::vector<float> before = c.rows.values;
      round_to_bfloat16(c.rows.values);
      changed += before == c.rows.values ? 0 : 1;
      c.form.round_weights = c.form.round_outputs = false;
      Result wanted = run(c);
      round_to_bfloat16(wanted.out.span());
      BOOST_CHECK_MESSAGE(same_bits(found.out, wanted.out), target_name() << ", case " << number);
      BOOST_CHECK(alive_bits_right(found));
    }
  }
  BOOST_CHECK_GT(changed, kCases / 20);
}

// Where the machine multiplies pairs of bfloat16 numbers: tame layers are packed for that, and
// neither wild activations nor ranges change a bit.
BOOST_AUTO_TEST_CASE(bfloat16_pairs_give_the_bits_of_single_multiply_adds) {
  std::int64_t pairs = 0, others = 0;
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    if (!multiplies_bfloat16_pairs()) continue;
    Random random(8);
    for (int number = 0; number < kCases / 5; ++number) {
      Case c = random_case(random);
      const bool wild = number % 3 == 0, tiny = number % 7 == 0 && c.rows.nnz() > 0;
      if (wild) strew_wild_numbers(random, c.in);
      if (number % 5 == 0) shrink_some_samples(random, c.in, random.coin() ? 0x1p-130F : 0x1p-124F);
      if (tiny) c.rows.values[0] = 0x1p-60F;
      if (number % 4 == 1) c.in[random.below(std::ssize(c.in.span()))] = 0x1p-100F;  // or wild
      if (number % 11 != 0) round_to_bfloat16(c.in.span());
      c.form = {number % 2 == 0, 1 + random.below(50), 0};
      c.form.round_weights = c.form.round_outputs = true;
      const auto packed =
          pack_layer(c.rows, testing::all_inputs(c.rows.cols), c.bias, c.epilogue, c.form);
      (packed.blocked().shorts.empty() ? others : pairs) += packed.nnz();
      BOOST_CHECK(!tiny || packed.blocked().shorts.empty());
      const Result found = run(c, 1 + random.below(3));
      c.form.rows_beside = 1;
      BOOST_CHECK_MESSAGE(same_numbers(found.out, run(c).out), target_name()
                                                                   << ", case " << number);
    }
  }
  BOOST_TEST_MESSAGE("weights in pairs: " << pairs << ", others: " << others);
  BOOST_CHECK(others == 0 || pairs > others / 4);
}

// The largest layers that fit the slice on the stack, and one input more.
BOOST_AUTO_TEST_CASE(bfloat16_pairs_take_blocks_of_any_width) {
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    for (const std::int64_t width : {1, 2, 511, 512, 513, 2000}) {
      Random random(9);
      Case c;
      c.rows = testing::random_rows(random, 70, 1100, 0.4);
      c.in = testing::random_floats(random, 1100 * kPanelWidth);
      round_to_bfloat16(c.in.span());
      c.form = {true, width, 0};
      c.form.round_weights = true;
      const auto packed = pack_layer(c.rows, testing::all_inputs(1100), {}, {}, c.form);
      BOOST_CHECK_EQUAL(!packed.blocked().shorts.empty(),
                        multiplies_bfloat16_pairs() && width <= kMostShortInputs);
      const Result found = run(c);
      c.form.rows_beside = 1;
      BOOST_CHECK(same_bits(found.out, run(c).out));
    }
  }
}

BOOST_AUTO_TEST_CASE(bfloat16_is_the_nearest_value_and_the_even_of_two) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  BOOST_CHECK_EQUAL(round_to_bfloat16(1.0F), 1.0F);
  BOOST_CHECK_EQUAL(round_to_bfloat16(0x1.00FFp0F), 0x1.00p0F);
  BOOST_CHECK_EQUAL(round_to_bfloat16(0x1.01p0F), 0x1.00p0F);
  BOOST_CHECK_EQUAL(round_to_bfloat16(0x1.0101p0F), 0x1.02p0F);
  BOOST_CHECK_EQUAL(round_to_bfloat16(-0x1.03p0F), -0x1.04p0F);
  BOOST_CHECK_EQUAL(round_to_bfloat16(std::numeric_limits<float>::max()), kInfinite);
  BOOST_CHECK_EQUAL(round_to_bfloat16(-kInfinite), -kInfinite);
  BOOST_CHECK(std::signbit(round_to_bfloat16(-0.0F)));
  BOOST_CHECK(std::isnan(round_to_bfloat16(std::numeric_limits<float>::quiet_NaN())));
}

BOOST_AUTO_TEST_CASE(rows_of_several_groups_match_to_the_bit) {
  Random random(3);
  Case c;
  c.rows = testing::random_rows(random, 2 * kGroupRows + 300, 45, 0.2);
  BOOST_REQUIRE_GT(c.rows.nnz(), 20000);
  c.bias = {-0.125F};
  c.epilogue.activation = Activation::kRelu;
  c.in = testing::random_floats(random, 45 * kPanelWidth);
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    c.form = {};
    const Result usual = run(c, 1);
    check_case(c, usual, 0);
    for (const std::int64_t width : {7, 16, 45}) {
      for (const int beside : {1, kRowsBeside}) {
        c.form = {true, width, beside};
        BOOST_CHECK(same_bits(usual.out, run(c, 1).out));
        BOOST_CHECK(same_bits(usual.out, run(c, 3).out));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(long_rows_that_share_their_inputs_match_to_the_bit) {
  std::int64_t tiled = 0;
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    Random random(5);
    for (int number = 0; number < 120 / testing::kOneOf; ++number) {
      Case c;
      const std::int64_t cols = 90 + random.below(400);
      c.rows = number % 2 == 0
                   ? testing::rows_where(random, 2 + random.below(20), cols, number % 3 == 0,
                                         [](std::int64_t, std::int64_t) { return true; })
                   : testing::grouped_rows(random, 2 + random.below(30), cols, 3, 0.7);
      c.bias = {-0.125F};
      c.epilogue = random_epilogue(random);
      c.in = testing::random_floats(random, cols * kPanelWidth);
      const auto packed = pack_layer(c.rows, testing::all_inputs(cols), c.bias, c.epilogue);
      tiled += static_cast<std::int64_t>(packed.tiled().tiles.size());
      check_case(c, run(c, 1 + random.below(3)), number);
    }
  }
  BOOST_CHECK_GT(tiled, 200 / testing::kOneOf);
}

// Without a bias and an activation the outputs are the sums, signs of zeros included.
BOOST_AUTO_TEST_CASE(gaps_of_dense_parts_change_no_bit) {
  std::int64_t dense = 0, weights = 0, negative_zeros = 0;
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    Random random(6);
    for (int number = 0; number < kCases / 25; ++number) {
      Case c;
      const std::int64_t rows = 4 + random.below(60), cols = 40 + random.below(80);
      const double density = 0.75 + 0.24 * random.unit();
      const std::int64_t from = random.below(cols);  // sparse before, nearly dense behind
      c.rows = testing::rows_where(random, rows, cols, number % 7 == 0,
                                   [&](std::int64_t, std::int64_t column) {
                                     return random.unit() < (column < from ? 0.1 : density);
                                   });
      if (number % 3 == 0) store_some_zeros(random, c.rows);
      if (number % 5 == 0 && !c.rows.values.empty()) c.rows.values[0] = 0x1p-60F;
      c.in = testing::random_floats(random, cols * kPanelWidth);
      if (number % 2 == 0) strew_wild_numbers(random, c.in);
      if (number % 4 == 1) shrink_some_samples(random, c.in, 0x1p-149F);
      const std::int64_t width = 8 + random.below(40);
      c.form = {false, cols + 1, 0};  // one block has no dense parts
      const Result usual = run(c);
      for (const int beside : {1, kRowsBeside}) {
        c.form = {false, width, beside};
        const auto packed = pack_layer(c.rows, testing::all_inputs(cols), {}, {}, c.form);
        dense += packed.blocked().dense_weights;
        weights += packed.nnz();
        BOOST_CHECK_MESSAGE(same_numbers(run(c, 1 + random.below(3)).out, usual.out),
                            target_name() << ", case " << number);
      }
      for (const float y : usual.out.span()) negative_zeros += y == 0 && std::signbit(y) ? 1 : 0;
      if (!OnTarget::fuses() || number % 2 == 0) continue;
      BOOST_CHECK_EQUAL(first_wrong_bits(c, usual.out), -1);
    }
  }
  BOOST_CHECK_GT(dense, weights / 10);
  BOOST_CHECK_GT(negative_zeros, kCases / 25);
}

// A sum that underflows before a dense part is a negative zero, which a gap there must not change:
// neither where an activation is tiny nor where a weight is.
BOOST_AUTO_TEST_CASE(gaps_keep_a_negative_zero_from_before) {
  constexpr std::int64_t kRows = 8, kCols = 64, kWidth = 16, kGap = 20;
  for (const auto& [first_weight, first_input] :
       {std::pair(0.25F, -0x1p-149F), std::pair(0x1p-140F, -0x1p-30F)}) {
    Random random(7);
    Case c;
    c.rows = testing::rows_where(random, kRows, kCols, false, [](std::int64_t, std::int64_t col) {
      return col == 0 || (col >= kWidth && col < 2 * kWidth && col != kGap);
    });
    std::fill(c.rows.values.begin(), c.rows.values.end(), 0.5F);
    for (std::int64_t row = 0; row < kRows; ++row) {
      c.rows.values[static_cast<std::size_t>(c.rows.pointers[static_cast<std::size_t>(row)])] =
          first_weight;
    }
    c.in = Floats(kCols * kPanelWidth, -0.0F);
    std::fill_n(c.in.data(), kPanelWidth, first_input);
    std::fill_n(c.in.data() + kGap * kPanelWidth, kPanelWidth, 1.0F);
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      if (!OnTarget::fuses()) continue;
      for (const int beside : {1, kRowsBeside}) {
        c.form = {false, kWidth, beside};
        const Result result = run(c);
        for (const float y : result.out.span()) BOOST_CHECK(y == 0 && std::signbit(y));
        BOOST_CHECK_EQUAL(first_wrong_bits(c, result.out), -1);
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
