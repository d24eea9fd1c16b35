#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <string>

#include "framework/comm.hpp"
#include "framework/provenance.hpp"

BOOST_AUTO_TEST_SUITE(framework_provenance)

using namespace espalier;

BOOST_AUTO_TEST_CASE(each_host_is_named_once) {
  const Comm world(MPI_COMM_WORLD);
  std::array<char, 256> own{};
  BOOST_CHECK_EQUAL(gethostname(own.data(), own.size() - 1), 0);
  const auto names = host_names(world);
  BOOST_CHECK_EQUAL(std::count(names.begin(), names.end(), std::string(own.data())), 1);
  if (world.split_node().ranks() == world.ranks()) {
    BOOST_CHECK_EQUAL(names.size(), 1U);
  }
}

BOOST_AUTO_TEST_SUITE_END()
