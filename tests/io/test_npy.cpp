#include <boost/test/unit_test.hpp>
#include <string>

#include "framework/error.hpp"
#include "io/npy.hpp"

BOOST_AUTO_TEST_SUITE(io_npy)

using namespace espalier;

namespace {

// The dictionary of a header whose frame is right: magic, version, length, alignment, line end.
std::string dictionary(const std::string& header) {
  BOOST_REQUIRE_GE(header.size(), 12U);
  BOOST_CHECK_EQUAL(header.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const auto length =
      static_cast<unsigned char>(header[8]) + 256U * static_cast<unsigned char>(header[9]);
  BOOST_CHECK_EQUAL(header.size(), 10U + length);
  BOOST_CHECK_EQUAL(header.size() % 64, 0U);
  BOOST_CHECK_EQUAL(header.back(), '\n');
  const std::string padded = header.substr(10, header.size() - 11);
  return padded.substr(0, padded.find_last_not_of(' ') + 1);
}

}  // namespace

BOOST_AUTO_TEST_CASE(headers_as_numpy_writes_them) {
  BOOST_CHECK_EQUAL(dictionary(io::npy_header(io::kInt64, {19})),
                    "{'descr': '<i8', 'fortran_order': False, 'shape': (19,), }");
  BOOST_CHECK_EQUAL(dictionary(io::npy_header(io::kFloat32, {0, 3})),
                    "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }");
  BOOST_CHECK_EQUAL(dictionary(io::npy_header(io::kUint8, {2, 3, 4})),
                    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }");
  BOOST_CHECK_EQUAL(dictionary(io::npy_header(io::kFloat64, {})),
                    "{'descr': '<f8', 'fortran_order': False, 'shape': (), }");
  BOOST_CHECK_EQUAL(dictionary(io::npy_header({io::ElementClass::kText, 12}, {5})),
                    "{'descr': '|S12', 'fortran_order': False, 'shape': (5,), }");
  BOOST_CHECK_EQUAL(dictionary(io::npy_header({io::ElementClass::kSigned, 4, false}, {5})),
                    "{'descr': '>i4', 'fortran_order': False, 'shape': (5,), }");
}

BOOST_AUTO_TEST_CASE(every_length_is_aligned) {
  std::vector<std::int64_t> shape;
  for (int dimensions = 0; dimensions < 40; ++dimensions) {
    dictionary(io::npy_header(io::kFloat32, shape));
    shape.push_back(1);
  }
}

BOOST_AUTO_TEST_CASE(types_unknown_to_numpy) {
  BOOST_CHECK_THROW(io::npy_header({io::ElementClass::kOther, 3}, {1}), BugError);
}

BOOST_AUTO_TEST_SUITE_END()
