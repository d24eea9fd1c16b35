#include <boost/test/unit_test.hpp>
#include <limits>

#include "kernels/layout.hpp"

namespace espalier::kernels {
namespace {

CsrRows sound() {
  CsrRows rows;
  rows.first_row = 10;
  rows.cols = 5;
  rows.pointers = {0, 2, 2, 3};
  rows.indices = {1, 4, 0};
  rows.values = {1, 2, 3};
  return rows;
}

void check_fault(const CsrRows& rows, CsrFault::Kind kind, std::int64_t row, std::int64_t column) {
  CsrFault fault{};
  BOOST_REQUIRE(find_fault(rows, fault));
  BOOST_TEST((fault.kind == kind));
  BOOST_TEST(fault.row == row);
  if (kind != CsrFault::Kind::kPointersDescend) BOOST_TEST(fault.column == column);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_layout)

BOOST_AUTO_TEST_CASE(sound_rows_have_no_fault) {
  CsrFault fault{};
  BOOST_TEST(!find_fault(sound(), fault));
  BOOST_TEST(!find_fault(CsrRows{}, fault));
}

BOOST_AUTO_TEST_CASE(each_fault_is_found_with_its_place) {
  using Kind = CsrFault::Kind;
  CsrRows rows = sound();
  rows.pointers = {0, 2, 1, 3};
  check_fault(rows, Kind::kPointersDescend, 11, 0);
  rows.pointers = {0, 2, 2, 4};
  check_fault(rows, Kind::kPointersDescend, 12, 0);
  rows.pointers = {0, 2, 2, 2};
  check_fault(rows, Kind::kPointersDescend, 12, 0);
  rows.pointers = {1, 2, 2, 3};
  check_fault(rows, Kind::kPointersDescend, 10, 0);
  rows = sound();
  rows.indices = {1, 5, 0};
  check_fault(rows, Kind::kColumnRange, 10, 5);
  rows.indices = {4, 1, 0};
  check_fault(rows, Kind::kColumnOrder, 10, 1);
  rows.indices = {4, 4, 0};
  check_fault(rows, Kind::kDuplicate, 10, 4);
  rows = sound();
  rows.values[2] = std::numeric_limits<float>::infinity();
  check_fault(rows, Kind::kNotFinite, 12, 0);
  rows.iso = true;
  rows.values = {std::numeric_limits<float>::quiet_NaN()};
  check_fault(rows, Kind::kNotFinite, 10, 1);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
