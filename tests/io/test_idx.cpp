#include <boost/test/unit_test.hpp>
#include <fstream>
#include <string>
#include <vector>

#include "framework/error.hpp"
#include "io/idx.hpp"

BOOST_AUTO_TEST_SUITE(io_idx)

using namespace espalier;

namespace {

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    bytes += static_cast<char>((value >> shift) & 0xffU);
  }
  return bytes;
}

std::string idx(int type, const std::vector<std::uint32_t>& shape, std::size_t elements) {
  std::string bytes = {'\0', '\0', static_cast<char>(type), static_cast<char>(shape.size())};
  for (const std::uint32_t length : shape) {
    bytes += big_endian(length);
  }
  for (std::size_t k = 0; k < elements; ++k) {
    bytes += static_cast<char>(k % 251);
  }
  return bytes;
}

void write_file(const std::string& content) { std::ofstream("x.idx", std::ios::binary) << content; }

void check_refused(const std::string& content, const std::string& what) {
  write_file(content);
  BOOST_CHECK_EXCEPTION(io::read_idx_header("x.idx"), Error, [&](const Error& error) {
    BOOST_CHECK_EQUAL(error.what(), "x.idx: " + what);
    return error.status() == ExitStatus::kBadData;
  });
}

}  // namespace

BOOST_AUTO_TEST_CASE(items_are_read_where_they_lie) {
  write_file(idx(8, {5, 2, 3}, 30));
  const io::IdxHeader header = io::read_idx_header("x.idx");
  BOOST_CHECK(header.shape == (std::vector<std::int64_t>{5, 2, 3}));
  BOOST_CHECK_EQUAL(header.data_offset, 16);
  BOOST_CHECK(io::read_idx("x.idx", header, {3, 4}) ==
              (std::vector<std::uint8_t>{18, 19, 20, 21, 22, 23}));
  BOOST_CHECK_EQUAL(io::read_idx("x.idx", header, {0, 5}).size(), 30U);
  BOOST_CHECK(io::read_idx("x.idx", header, {2, 2}).empty());
  BOOST_CHECK_THROW(io::read_idx("x.idx", header, {3, 6}), BugError);
}

BOOST_AUTO_TEST_CASE(labels_and_empty_files) {
  write_file(idx(8, {7}, 7));
  const io::IdxHeader header = io::read_idx_header("x.idx");
  BOOST_CHECK(header.shape == std::vector<std::int64_t>{7});
  BOOST_CHECK(io::read_idx("x.idx", header, {2, 4}) == (std::vector<std::uint8_t>{2, 3}));
  write_file(idx(8, {0, 28, 28}, 0));
  BOOST_CHECK(io::read_idx_header("x.idx").shape == (std::vector<std::int64_t>{0, 28, 28}));
}

BOOST_AUTO_TEST_CASE(what_is_wrong_with_a_header_is_named) {
  const std::string no_idx =
      "is no IDX file: it should begin with the bytes 0 0 8 and its dimensions";
  check_refused("", no_idx);
  check_refused(std::string("\0\0\x08", 3), no_idx);
  check_refused("\x89HDF and more", no_idx);
  check_refused("\x1f\x8b\x08 packed", "is compressed with gzip; unpack it first (gunzip)");
  check_refused(idx(13, {2}, 8),
                "holds IDX elements of type 13, only unsigned bytes (type 8) can be read");
  check_refused(idx(8, {}, 8), "has 0 dimensions, right is 1 to 8");
  check_refused(idx(8, std::vector<std::uint32_t>(9, 1), 1), "has 9 dimensions, right is 1 to 8");
  check_refused(idx(8, {5, 2, 3}, 0).substr(0, 10),
                "is truncated: it has 10 bytes, its header alone needs 16");
  check_refused(idx(8, {5, 2, 3}, 29), "is truncated: it has 45 bytes, its header asks for 46");
  check_refused(idx(8, {5, 2, 3}, 31), "it has 47 bytes, its header asks for 46");
  check_refused(idx(8, {4000000000U, 4000000000U, 4000000000U}, 8),
                "has dimensions that are too large");
}

BOOST_AUTO_TEST_CASE(an_absent_file_is_no_input) {
  BOOST_CHECK_EXCEPTION(io::read_idx_header("absent"), Error,
                        [](const Error& error) { return error.status() == ExitStatus::kNoInput; });
}

BOOST_AUTO_TEST_SUITE_END()
