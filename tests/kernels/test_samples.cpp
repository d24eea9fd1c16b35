#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/samples.hpp"
#include "kernels/top.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<std::int64_t> top(const std::vector<float>& outputs, std::size_t k) {
  std::vector<std::int64_t> index(k);
  std::vector<float> value(k);
  top_k(outputs, index, value);
  for (std::size_t i = 0; i < k; ++i) {
    const float expected = outputs[static_cast<std::size_t>(index[i])];
    BOOST_TEST(testing::bits_of(value[i]) == testing::bits_of(expected));
  }
  return index;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_samples)

BOOST_AUTO_TEST_CASE(top_k_equals_a_stable_sort) {
  testing::Random random(1);
  for (int number = 0; number < 2000; ++number) {
    std::vector<float> outputs;
    const std::int64_t count = 1 + random.below(40);
    // Few distinct values, so that ties are the rule.
    for (std::int64_t i = 0; i < count; ++i) {
      outputs.push_back(static_cast<float>(random.below(6)) - 2);
    }
    std::vector<std::int64_t> order(outputs.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return outputs[static_cast<std::size_t>(a)] > outputs[static_cast<std::size_t>(b)];
    });
    const auto k = static_cast<std::size_t>(random.below(count + 1));
    order.resize(k);
    BOOST_TEST(top(outputs, k) == order, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(top_k_puts_nan_last_and_zeros_by_index) {
  const std::vector<std::int64_t> expected = {4, 1, 2, 3, 6, 0, 5};
  BOOST_TEST(top({kNan, 0.0F, -0.0F, 0.0F, kInfinity, kNan, -kInfinity}, 7) == expected,
             boost::test_tools::per_element());
}

// Rows that pass by a few at a time, in two parts that are joined, give what whole columns give.
BOOST_AUTO_TEST_CASE(top_panel_equals_top_k) {
  testing::Random random(2);
  std::int64_t rows_seen = 0;
  for (int number = 0; number < 1500; ++number) {
    const std::int64_t rows = 1 + random.below(60);
    const std::int64_t samples = 1 + random.below(kPanelWidth);
    const std::int64_t k = 1 + random.below(std::min<std::int64_t>(rows, 9));
    testing::Floats panel(rows * kPanelWidth);
    const float odd[] = {kNan, kInfinity, -kInfinity, -0.0F, 0.0F, 1e-45F};
    for (float& x : panel.span()) {
      x = random.below(8) == 0 ? odd[random.below(6)] : static_cast<float>(random.below(5)) - 3;
    }
    const std::int64_t middle = random.below(rows + 1);
    TopPanel parts[] = {TopPanel(k, samples), TopPanel(k, samples)};
    for (std::int64_t row = 0; row < rows;) {
      const std::int64_t end = row < middle ? middle : rows;
      const std::int64_t count = 1 + random.below(end - row);
      parts[row < middle ? 0 : 1].add(panel.data() + row * kPanelWidth, count, row);
      row += count;
    }
    for (std::int64_t column = 0; column < samples; ++column) {
      std::vector<float> outputs;
      for (std::int64_t row = 0; row < rows; ++row) {
        outputs.push_back(panel[row * kPanelWidth + column]);
      }
      std::vector<Ranked> candidates;
      for (const TopPanel& part : parts) {
        const auto best = part.best(column);
        candidates.insert(candidates.end(), best.begin(), best.end());
      }
      std::vector<std::int64_t> index(static_cast<std::size_t>(k));
      std::vector<float> value(index.size());
      best_of(candidates, index, value);
      BOOST_TEST(index == top(outputs, index.size()), boost::test_tools::per_element());
      BOOST_TEST(testing::bits_of(value[0]) ==
                 testing::bits_of(outputs[static_cast<std::size_t>(index[0])]));
    }
    rows_seen += rows;
  }
  BOOST_TEST(rows_seen > 30000);
}

BOOST_AUTO_TEST_CASE(softmax_sums_to_one_without_overflow) {
  std::vector<float> x = {1000.0F, 1001.0F, -1000.0F, 1001.0F};
  softmax(x);
  const double e = std::exp(-1.0);
  BOOST_TEST(x[0] == static_cast<float>(e / (2 + e)), boost::test_tools::tolerance(1e-6F));
  BOOST_TEST(x[1] == x[3]);
  BOOST_TEST(x[2] == 0.0F);
  BOOST_TEST(std::accumulate(x.begin(), x.end(), 0.0F) == 1.0F,
             boost::test_tools::tolerance(1e-6F));
  softmax({});
}

BOOST_AUTO_TEST_CASE(softmax_of_infinities_and_nan) {
  std::vector<float> two = {kInfinity, 0.0F, kInfinity};
  softmax(two);
  BOOST_TEST(two[0] == 0.5F);
  BOOST_TEST(two[1] == 0.0F);
  std::vector<float> none = {-kInfinity, -kInfinity};
  softmax(none);
  BOOST_TEST(none[0] == 0.5F);
  std::vector<float> nan = {1.0F, kNan};
  softmax(nan);
  BOOST_TEST(std::isnan(nan[0]));
  BOOST_TEST(std::isnan(nan[1]));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
