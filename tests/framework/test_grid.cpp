#include <boost/test/unit_test.hpp>
#include <string>

#include "framework/error.hpp"
#include "framework/grid.hpp"

BOOST_AUTO_TEST_SUITE(framework_grid)

using namespace espalier;

BOOST_AUTO_TEST_CASE(a_grid_is_spelled_rows_x_groups) {
  const GridShape shape = parse_grid("16x3");
  BOOST_TEST(shape.row_shards == 16);
  BOOST_TEST(shape.sample_groups == 3);
  BOOST_TEST(to_string(shape) == "16x3");
  BOOST_TEST((parse_grid(to_string(GridShape{})) == GridShape{1, 1}));
}

BOOST_AUTO_TEST_CASE(anything_else_is_a_usage_error) {
  for (const char* spelled : {"", "x", "4", "4x", "x4", "0x4", "4x0", "-1x4", "4x-1", "4 x 2",
                              " 4x2", "4x2 ", "4X2", "4x2x1", "4.0x2", "99999999999x1"}) {
    BOOST_CHECK_EXCEPTION(parse_grid(spelled), Error, [&](const Error& error) {
      return error.status() == ExitStatus::kUsage &&
             std::string(error.what()).find(text('"', spelled, '"')) != std::string::npos;
    });
  }
}

BOOST_AUTO_TEST_SUITE_END()
