#include <boost/test/unit_test.hpp>
#include <set>
#include <stdexcept>

#include "kernels/limits.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {

BOOST_AUTO_TEST_SUITE(kernels_target)

BOOST_AUTO_TEST_CASE(each_target_can_be_chosen_and_given_back) {
  const std::int64_t all = supported_targets();
  const std::string best = target_name();
  std::set<std::string> names;
  for (const std::int64_t target : testing::single_targets()) {
    const testing::OnTarget guard(target);
    names.insert(target_name());
    BOOST_CHECK_EQUAL(supported_targets(), all);
  }
  BOOST_CHECK_EQUAL(names.size(), testing::single_targets().size());
  BOOST_CHECK_EQUAL(target_name(), best);
}

BOOST_AUTO_TEST_CASE(an_unsupported_target_is_refused) {
  BOOST_CHECK_THROW(restrict_targets(0), std::invalid_argument);
  BOOST_CHECK_THROW(restrict_targets(~supported_targets()), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(the_peak_is_plausible) {
  const double peak = measure_fma_peak();
  BOOST_CHECK_GT(peak, 1e7);  // also where nothing is optimised
  BOOST_CHECK_LT(peak, 1e12);
}

BOOST_AUTO_TEST_CASE(the_peak_of_loading_multiply_adds_is_plausible_on_every_target) {
  const testing::Floats data(2048, 1.0F);
  for (const std::int64_t target : testing::single_targets()) {
    const testing::OnTarget guard(target);
    const double peak = measure_loading_fma_peak(data.span());
    BOOST_CHECK_GT(peak, 1e7);
    BOOST_CHECK_LT(peak, 1e12);
  }
  BOOST_CHECK_THROW(measure_loading_fma_peak(data.span().first(127)), std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
