#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "kernels/exact_sum.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

using Limbs = std::array<std::int64_t, ExactSum::kLimbs>;

float any_float(testing::Random& random) {
  for (;;) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random.next()));
    if (std::isfinite(value)) return value;
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_exact_sum)

BOOST_AUTO_TEST_CASE(one_term_is_itself) {
  testing::Random random(1);
  for (int number = 0; number < 10000; ++number) {
    const float weight = any_float(random);
    const double magnitude = std::abs(static_cast<double>(weight));
    Limbs sum{}, square{};
    ExactSum::add(sum, weight);
    ExactSum::add_square(square, weight);
    BOOST_TEST(ExactSum::value(sum) == magnitude);
    BOOST_TEST(ExactSum::value(square) == magnitude * magnitude);
  }
}

BOOST_AUTO_TEST_CASE(order_and_partition_do_not_matter) {
  testing::Random random(2);
  for (int number = 0; number < 50; ++number) {
    std::vector<float> weights;
    for (int i = 0; i < 200; ++i) {
      weights.push_back(number % 2 == 0 ? any_float(random) : random.symmetric());
    }
    Limbs forward{}, first{}, second{};
    for (const float weight : weights) ExactSum::add_square(forward, weight);
    for (std::size_t i = weights.size(); i-- > 0;) {
      ExactSum::add_square(i % 3 == 0 ? first : second, weights[i]);
    }
    for (std::size_t i = 0; i < first.size(); ++i) first[i] += second[i];
    BOOST_TEST(ExactSum::value(first) == ExactSum::value(forward));
  }
}

BOOST_AUTO_TEST_CASE(sums_are_exact) {
  // 2^24 + 1 + 1 loses both ones in float32; a double holds all of these sums.
  Limbs sum{};
  ExactSum::add(sum, 16777216.0F);
  for (int i = 0; i < 1000; ++i) ExactSum::add(sum, -1.0F);
  BOOST_TEST(ExactSum::value(sum) == 16778216.0);
  BOOST_TEST(ExactSum::value(Limbs{}) == 0.0);
  Limbs large{};
  for (int i = 0; i < 1024; ++i) ExactSum::add_square(large, std::numeric_limits<float>::max());
  const auto most = static_cast<double>(std::numeric_limits<float>::max());
  BOOST_TEST(ExactSum::value(large) == 1024 * (most * most), boost::test_tools::tolerance(1e-15));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
