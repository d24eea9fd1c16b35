#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <limits>
#include <stdexcept>

#include "kernels/pack.hpp"
#include "tests/kernels/spmm_cases.hpp"

namespace espalier::kernels {
namespace {

using testing::Random;

CsrRows small() {
  CsrRows rows;
  rows.first_row = 90;
  rows.cols = 1000;
  rows.pointers = {0, 2, 2, 5};
  rows.indices = {3, 700, 3, 64, 999};
  rows.values = {1, 2, 3, 0, 5};
  return rows;
}

Epilogue with(Activation activation, bool where_nonzero = false) {
  Epilogue e;
  e.activation = activation;
  e.bias_where_nonzero = where_nonzero;
  return e;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_pack)

BOOST_AUTO_TEST_CASE(used_inputs_ascend_each_once) {
  const std::vector<std::uint32_t> expected = {3, 64, 700, 999};
  BOOST_TEST(used_inputs(small()) == expected, boost::test_tools::per_element());
  BOOST_TEST(used_inputs(CsrRows{}).empty());
}

BOOST_AUTO_TEST_CASE(stored_zeros_are_skipped) {
  const auto packed = pack_layer(small(), used_inputs(small()), {}, {});
  BOOST_TEST(packed.rows() == 3);
  BOOST_TEST(packed.nnz() == 4);
  BOOST_TEST(packed.inputs() == 4);
  BOOST_TEST(packed.bytes() > 0);
  CsrRows zeros = small();
  zeros.iso = true;
  zeros.values = {0};
  BOOST_TEST(pack_layer(zeros, used_inputs(zeros), {}, {}).nnz() == 0);
}

BOOST_AUTO_TEST_CASE(a_missing_input_is_named) {
  const std::vector<std::uint32_t> inputs = {3, 700};
  try {
    pack_layer(small(), inputs, {}, {});
    BOOST_ERROR("no exception");
  } catch (const std::out_of_range& error) {
    const std::string text = error.what();
    BOOST_TEST(text.find("row 92") != std::string::npos);
    BOOST_TEST(text.find("999") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(rows_with_the_same_inputs_are_found) {
  Random random(2);
  const CsrRows rows = testing::grouped_rows(random, 64, 50, 16, 0.3);
  BOOST_REQUIRE_GT(rows.nnz(), 100);
  const auto shared = pack_layer(rows, testing::all_inputs(50), {}, {});
  BOOST_TEST(shared.block_names() == "shared 100%");
  BOOST_TEST(shared.row_granularity() == 1);
  const auto apart = pack_layer(rows, testing::all_inputs(50), {}, {}, {false, 16});
  BOOST_TEST(apart.block_names() == "blocked by 16 100%");
  BOOST_TEST(apart.row_granularity() > 1);
  BOOST_TEST(apart.nnz() == rows.nnz());
}

// Rows that differ in one input out of a hundred, each one `copies` times, far apart.
CsrRows nearly_alike(std::int64_t variants, int copies) {
  CsrRows rows;
  rows.cols = 1000;
  for (int copy = 0; copy < copies; ++copy) {
    for (std::int64_t variant = 0; variant < variants; ++variant) {
      for (std::int64_t k = 0; k < 100; ++k) {
        const std::int64_t moved = k == 1 + variant / 9 ? 1 + variant % 9 : 0;
        rows.indices.push_back(static_cast<std::uint32_t>(k * 10 + moved));
        rows.values.push_back(1);
      }
      rows.pointers.push_back(static_cast<std::int64_t>(rows.indices.size()));
    }
  }
  return rows;
}

BOOST_AUTO_TEST_CASE(rows_that_only_look_alike_are_told_apart) {
  const auto names = [](const CsrRows& rows) {
    return pack_layer(rows, testing::all_inputs(1000), {}, {}).block_names();
  };
  BOOST_TEST(names(nearly_alike(600, 1)).find("shared") == std::string::npos);
  BOOST_TEST(names(nearly_alike(600, 2)) == "shared 100%");
  BOOST_TEST(names(nearly_alike(3, 2)) == "shared 100%");
}

BOOST_AUTO_TEST_CASE(packing_is_not_larger_than_csr) {
  Random random(1);
  const CsrRows rows = testing::random_rows(random, 100, 300, 0.2);
  BOOST_REQUIRE_GT(rows.nnz(), 1000);
  const auto packed = pack_layer(rows, used_inputs(rows), {}, {});
  BOOST_TEST(packed.bytes() <= rows.nnz() * 8 + (rows.rows() + 1) * 8);
}

BOOST_AUTO_TEST_CASE(zero_to_zero_is_asked_of_the_real_epilogue) {
  const auto maps = [](const Epilogue& epilogue, std::vector<float> bias) {
    const CsrRows rows = small();
    return maps_zero_to_zero(pack_layer(rows, used_inputs(rows), bias, epilogue));
  };
  BOOST_TEST(maps(with(Activation::kIdentity), {}));
  BOOST_TEST(maps(with(Activation::kRelu), {-0.3F}));
  BOOST_TEST(!maps(with(Activation::kRelu), {0.3F}));
  BOOST_TEST(maps(with(Activation::kRelu, true), {0.3F}));
  BOOST_TEST(maps(with(Activation::kRelu), {-1, -1, 0}));
  BOOST_TEST(!maps(with(Activation::kRelu), {-1, -1, 1}));
  BOOST_TEST(maps(with(Activation::kTanh), {}));
  BOOST_TEST(maps(with(Activation::kSilu), {}));
  BOOST_TEST(maps(with(Activation::kGelu), {}));
  BOOST_TEST(maps(with(Activation::kElu), {}));
  BOOST_TEST(!maps(with(Activation::kSigmoid), {}));
  BOOST_TEST(!maps(with(Activation::kSoftmax), {}));
  BOOST_TEST(!maps(with(Activation::kIdentity), {std::numeric_limits<float>::quiet_NaN()}));
  Epilogue below = with(Activation::kRelu);
  below.has_clamp = true;
  below.clamp = -1;
  BOOST_TEST(!maps(below, {}));
}

BOOST_AUTO_TEST_CASE(a_layer_without_rows_packs) {
  const auto packed = pack_layer(CsrRows{}, {}, {}, {});
  BOOST_TEST(packed.rows() == 0);
  BOOST_TEST(packed.nnz() == 0);
  BOOST_TEST(maps_zero_to_zero(packed));
}

BOOST_AUTO_TEST_CASE(groups_on_panels_beyond_the_caches_match_to_the_bit) {
  for (const std::int64_t target : testing::single_targets()) {
    const testing::OnTarget guard(target);
    testing::Random random(6);
    for (int number = 0; number < 6; ++number) {
      spmm_cases::Case c;
      c.rows = testing::grouped_rows(random, 5 + random.below(90), 2500, 7, 0.02);
      c.bias = {-0.125F};
      c.epilogue = spmm_cases::random_epilogue(random);
      c.in = testing::random_floats(random, c.rows.cols * kPanelWidth);
      spmm_cases::check_case(c, spmm_cases::run(c, 1 + random.below(3)), number);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_panel_of_few_samples_has_their_bits_and_those_of_no_other) {
  std::int64_t tiles = 0;
  for (const std::int64_t target : testing::single_targets()) {
    const testing::OnTarget guard(target);
    Random random(7);
    for (int number = 0; number < 300; ++number) {
      const spmm_cases::Case c = spmm_cases::random_case(random);
      const auto packed =
          pack_layer(c.rows, testing::all_inputs(c.rows.cols), c.bias, c.epilogue, c.form);
      tiles += static_cast<std::int64_t>(packed.tiled().tiles.size());
      const spmm_cases::Result all = spmm_cases::run(c);
      const std::int64_t samples = 1 + random.below(kPanelWidth);
      testing::Floats out(packed.rows() * kPanelWidth, 7.0F);
      std::array<std::uint32_t, kPanelWidth> alive{};
      spmm(packed, c.in.data(), out.data(), 0, packed.rows(), alive.data(), samples);
      std::int64_t wrong = 0;
      for (std::int64_t row = 0; row < packed.rows(); ++row) {
        for (std::int64_t s = 0; s < samples; ++s) {
          const std::int64_t i = row * kPanelWidth + s;
          wrong += testing::bits_of(out[i]) == testing::bits_of(all.out[i]) ? 0 : 1;
        }
      }
      BOOST_CHECK_EQUAL(wrong, 0);
      BOOST_CHECK(std::equal(alive.begin(), alive.begin() + samples, all.alive.begin()));
    }
  }
  BOOST_CHECK_GT(tiles, 250 * std::ssize(testing::single_targets()));
}

BOOST_AUTO_TEST_CASE(a_renumbered_layer_gives_the_same_rows_elsewhere) {
  Random random(8);
  std::int64_t renumbered = 0, tall = 0, biased = 0, moved = 0;
  for (int number = 0; number < 300; ++number) {
    spmm_cases::Case c = spmm_cases::random_case(random);
    if (random.coin()) {
      c.rows = testing::grouped_rows(random, 1 + random.below(60), 1 + random.below(70),
                                     1 + random.below(12), 0.3);
      c.bias.assign(static_cast<std::size_t>(c.rows.rows()), 0.0F);
      std::generate(c.bias.begin(), c.bias.end(), [&] { return random.symmetric(); });
      c.in = testing::random_floats(random, c.rows.cols * kPanelWidth);
      c.form = {};
    }
    auto packed = pack_layer(c.rows, testing::all_inputs(c.rows.cols), c.bias, c.epilogue, c.form);
    if (!packed.renumbers() || packed.rows() == 0) continue;
    const spmm_cases::Result before = spmm_cases::run(c);
    const auto inputs = packed.reading_order();
    auto sorted = inputs;
    std::sort(sorted.begin(), sorted.end());
    BOOST_REQUIRE(sorted == testing::all_inputs(c.rows.cols));
    auto rows = testing::all_inputs(packed.rows());
    for (std::size_t i = rows.size(); i > 1; --i) {
      std::swap(rows[i - 1], rows[static_cast<std::size_t>(random.below(std::int64_t(i)))]);
    }
    packed.renumber_inputs(inputs);
    packed.renumber_rows(rows);
    testing::Floats in(c.in.span().size()), out(before.out.span().size(), 7.0F);
    for (std::size_t input = 0; input < inputs.size(); ++input) {
      std::copy_n(&c.in[static_cast<std::int64_t>(input) * kPanelWidth], kPanelWidth,
                  &in[std::int64_t{inputs[input]} * kPanelWidth]);
    }
    std::array<std::uint32_t, kPanelWidth> alive{};
    const std::int64_t cut = random.below(packed.rows() + 1);
    spmm(packed, in.data(), out.data(), 0, cut, alive.data());
    spmm(packed, in.data(), out.data(), cut, packed.rows(), alive.data());
    std::int64_t wrong = 0;
    for (std::int64_t row = 0; row < packed.rows(); ++row) {
      const std::int64_t place = rows[static_cast<std::size_t>(row)];
      moved += place == row ? 0 : 1;
      for (std::int64_t s = 0; s < kPanelWidth; ++s) {
        wrong += testing::bits_of(out[place * kPanelWidth + s]) ==
                         testing::bits_of(before.out[row * kPanelWidth + s])
                     ? 0
                     : 1;
      }
    }
    BOOST_CHECK_EQUAL(wrong, 0);
    BOOST_CHECK(alive == before.alive);
    ++renumbered;
    tall += std::any_of(packed.tiled().tiles.begin(), packed.tiled().tiles.end(),
                        [](const Tile& tile) { return tile.height > 4 && tile.count > 1; });
    biased += c.bias.size() > 1 ? 1 : 0;
  }
  BOOST_CHECK_GT(renumbered, 60);
  BOOST_CHECK_GT(tall, 20);
  BOOST_CHECK_GT(biased, 20);
  BOOST_CHECK_GT(moved, 500);
}

BOOST_AUTO_TEST_CASE(inputs_stand_in_the_order_in_which_groups_read_them) {
  CsrRows rows;
  rows.cols = 6;
  rows.pointers = {0, 2, 5, 7, 10};
  rows.indices = {1, 5, 0, 3, 5, 1, 5, 0, 3, 5};
  rows.values.assign(10, 1.0F);
  rows.values.back() = 2;
  const auto packed = pack_layer(rows, testing::all_inputs(6), {}, {});
  BOOST_REQUIRE(packed.renumbers());
  const std::vector<std::uint32_t> expected = {2, 0, 4, 3, 5, 1};
  BOOST_TEST(packed.reading_order() == expected, boost::test_tools::per_element());
  BOOST_TEST(!pack_layer(small(), used_inputs(small()), {}, {}).renumbers());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
