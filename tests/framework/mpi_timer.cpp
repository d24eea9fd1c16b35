#include <algorithm>
#include <bit>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>

#include "framework/comm.hpp"
#include "framework/timer.hpp"

BOOST_AUTO_TEST_SUITE(framework_timer)

using namespace espalier;

BOOST_AUTO_TEST_CASE(the_spread_covers_every_rank) {
  const Comm world(MPI_COMM_WORLD);
  const Spread spread = spread_over_ranks(world, 10.0 - world.rank());
  BOOST_CHECK_EQUAL(spread.max, 10.0);
  BOOST_CHECK_EQUAL(spread.min, 11.0 - world.ranks());
  BOOST_CHECK_CLOSE(spread.mean, 10.0 - (world.ranks() - 1) / 2.0, 1e-12);
}

BOOST_AUTO_TEST_CASE(the_spread_is_the_same_to_the_last_bit_everywhere) {
  const Comm world(MPI_COMM_WORLD);
  const double value = std::pow(10.0, -3 * world.rank()) / 3;
  const Spread spread = spread_over_ranks(world, value);
  const auto bits = std::bit_cast<std::int64_t>(spread.mean);
  for (const std::int64_t other : world.gather_all(bits)) {
    BOOST_CHECK_EQUAL(other, bits);
  }
  BOOST_CHECK_EQUAL(spread.max, 1.0 / 3);
}

BOOST_AUTO_TEST_SUITE_END()
