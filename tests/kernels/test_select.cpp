#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/select.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

// Weights as a pruner meets them: plain, with few magnitudes (as bfloat16 has), all equal, with
// zeros of both signs, tiny ones.
std::vector<float> weights_of_kind(testing::Random& random, int kind, std::int64_t count) {
  std::vector<float> weights;
  for (std::int64_t i = 0; i < count; ++i) {
    float weight = random.symmetric();
    if (kind == 1) {
      weight = std::bit_cast<float>(std::bit_cast<std::uint32_t>(weight) & 0xFFF80000U);
    } else if (kind == 2) {
      weight = random.coin() ? 0.0625F : -0.0625F;
    } else if (kind == 3) {
      weight = random.below(3) == 0 ? weight : (random.coin() ? 0.0F : -0.0F);
    } else if (kind == 4) {
      weight = std::bit_cast<float>(static_cast<std::uint32_t>(random.below(200)));
    } else if (kind == 5) {
      weight *= 1e30F;  // the square is beyond float32
    }
    weights.push_back(weight);
  }
  return weights;
}

constexpr int kKinds = 6;

// Positions of the `keep` largest non-zero magnitudes, the lower position first among equals.
std::vector<std::size_t> sorted_choice(const std::vector<float>& weights, std::int64_t keep) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] != 0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(weights[a]) > std::abs(weights[b]);
  });
  order.resize(std::min(order.size(), static_cast<std::size_t>(keep)));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<std::uint32_t> keys_of(const std::vector<float>& weights) {
  std::vector<std::uint32_t> keys;
  for (const float weight : weights) {
    if (weight != 0) keys.push_back(magnitude_key(weight));
  }
  return keys;
}

Cut select(const std::vector<float>& weights, std::int64_t keep) {
  std::vector<std::int64_t> counts(kDigitValues);
  count_upper(std::span<const float>(weights), counts);
  RadixSelect narrowing(keep);
  narrowing.narrow_upper(counts);
  if (!narrowing.settled()) {
    std::fill(counts.begin(), counts.end(), 0);
    count_lower(keys_of(weights), narrowing.upper(), counts);
    narrowing.narrow_lower(counts);
  }
  return narrowing.cut();
}

std::vector<std::size_t> chosen(const std::vector<float>& weights, Cut cut) {
  std::vector<std::size_t> positions;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::uint32_t key = magnitude_key(weights[i]);
    if (weights[i] != 0 && (key > cut.key || (key == cut.key && cut.equals-- > 0))) {
      positions.push_back(i);
    }
  }
  return positions;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_select)

BOOST_AUTO_TEST_CASE(cut_equals_a_stable_sort) {
  testing::Random random(1);
  for (int number = 0; number < 300 / testing::kOneOf; ++number) {
    const auto weights = weights_of_kind(random, number % kKinds, random.below(3000));
    const auto count = std::ssize(weights);
    for (const std::int64_t keep :
         {std::int64_t{0}, std::int64_t{1}, random.below(count + 1), count, count + 7}) {
      const auto expected = sorted_choice(weights, keep);
      const auto found = chosen(weights, select(weights, keep));
      BOOST_TEST(found == expected, boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_CASE(counts_leave_out_zeros_and_find_what_is_not_finite) {
  std::vector<std::int64_t> counts(kDigitValues);
  const std::vector<float> weights = {0.0F,
                                      -0.0F,
                                      1.0F,
                                      -1.0F,
                                      1e-45F,
                                      -std::numeric_limits<float>::infinity(),
                                      std::numeric_limits<float>::quiet_NaN()};
  count_upper(std::span<const float>(weights), counts);
  BOOST_TEST(counts[0] == 1);
  BOOST_TEST(counts[magnitude_key(1.0F) >> 16U] == 2);
  const auto not_finite = counts.begin() + (kFirstNotFinite >> 16U);
  BOOST_TEST(std::accumulate(not_finite, counts.end(), std::int64_t{0}) == 2);
  BOOST_TEST(magnitude_key(std::numeric_limits<float>::max()) < kFirstNotFinite);
}

BOOST_AUTO_TEST_CASE(counting_keys_equals_counting_weights) {
  testing::Random random(2);
  for (int kind = 0; kind < kKinds; ++kind) {
    const auto weights = weights_of_kind(random, kind, 5000);
    std::vector<std::int64_t> by_weight(kDigitValues), by_key(kDigitValues);
    count_upper(std::span<const float>(weights), by_weight);
    count_upper(keys_of(weights), by_key);
    BOOST_TEST((by_weight == by_key));
  }
}

BOOST_AUTO_TEST_CASE(ordered_keys_follow_the_values) {
  const std::vector<float> ascending = {-3e38F, -1.0F, -1e-45F, 0.0F, 1e-45F, 1.0F, 3e38F};
  for (std::size_t i = 1; i < ascending.size(); ++i) {
    BOOST_TEST(ordered_key(ascending[i - 1]) < ordered_key(ascending[i]));
  }
  BOOST_TEST(ordered_key(-0.0F) == ordered_key(0.0F));
}

BOOST_AUTO_TEST_CASE(collect_equals_a_plain_loop_on_every_target) {
  for (const std::int64_t target : testing::single_targets()) {
    const testing::OnTarget on(target);
    testing::Random random(3);
    for (int number = 0; number < 200 / testing::kOneOf; ++number) {
      const auto weights = weights_of_kind(random, number % kKinds, random.below(200));
      const std::uint32_t least =
          weights.empty() || number % 7 == 0
              ? 0
              : magnitude_key(weights[static_cast<std::size_t>(random.below(std::ssize(weights)))]);
      std::vector<std::uint32_t> indices(weights.size() + 64), expected_indices;
      std::vector<float> values(weights.size() + 64), expected_values;
      double squares = 0;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] != 0 && magnitude_key(weights[i]) >= least) {
          expected_indices.push_back(static_cast<std::uint32_t>(i));
          expected_values.push_back(weights[i]);
        } else {
          squares += static_cast<double>(weights[i]) * static_cast<double>(weights[i]);
        }
      }
      const Collected found = collect_dense(weights, least, indices.data(), values.data());
      indices.resize(static_cast<std::size_t>(found.count));
      values.resize(static_cast<std::size_t>(found.count));
      BOOST_TEST(indices == expected_indices, boost::test_tools::per_element());
      BOOST_TEST(values == expected_values, boost::test_tools::per_element());
      BOOST_TEST(std::abs(found.left_out_squares - squares) <= 1e-4 * squares + 1e-30);
    }
  }
}

BOOST_AUTO_TEST_CASE(tallies_at_a_cut_are_those_of_plain_counting) {
  testing::Random random(31);
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const std::int64_t count : {0, 1, 7, 512, 1500}) {
      const auto weights = weights_of_kind(random, kind, count);
      std::vector<std::uint32_t> cuts = {0, 2, magnitude_key(0.5F), 0xFFFFFFFFU};
      if (count > 0) cuts.push_back(magnitude_key(weights[static_cast<std::size_t>(count / 2)]));
      for (const std::uint32_t cut : cuts) {
        CutTally plain;
        std::vector<std::int32_t> above;
        for (const float weight : weights) {
          const std::uint32_t key = magnitude_key(weight);
          if (key > cut) above.push_back(std::bit_cast<std::int32_t>(weight));
          plain.equal += key == cut ? 1 : 0;
          const auto value = static_cast<double>(weight);
          plain.below_squares += key < cut ? value * value : 0;
        }
        const CutTally found = tally_cut(weights, cut);
        BOOST_CHECK_EQUAL(found.above, above.size());
        BOOST_CHECK_EQUAL(found.equal, plain.equal);
        if (!above.empty()) {
          BOOST_CHECK_EQUAL(found.least_above, *std::min_element(above.begin(), above.end()));
          BOOST_CHECK_EQUAL(found.most_above, *std::max_element(above.begin(), above.end()));
        }
        BOOST_CHECK_LE(std::abs(found.below_squares - plain.below_squares),
                       1e-6 * plain.below_squares + 1e-40);
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
