#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "framework/error.hpp"
#include "io/safetensors.hpp"

BOOST_AUTO_TEST_SUITE(io_safetensors)

using namespace espalier;

namespace {

std::string length_of(std::uint64_t length) {
  std::string bytes;
  for (unsigned shift = 0; shift < 64; shift += 8) {
    bytes += static_cast<char>(length >> shift & 0xFFU);
  }
  return bytes;
}

void check_text(const std::string& header, std::int64_t data_bytes, const std::string& what) {
  BOOST_CHECK_EXCEPTION(io::parse_tensor_header("x", header, data_bytes), Error,
                        [&](const Error& error) {
                          BOOST_CHECK_EQUAL(error.what(), "x: " + what);
                          return error.status() == ExitStatus::kBadData;
                        });
}

void check_file(const std::string& content, const std::string& what) {
  std::ofstream("x.safetensors", std::ios::binary) << content;
  BOOST_CHECK_EXCEPTION(io::read_tensor_header(io::InputFile("x.safetensors")), Error,
                        [&](const Error& error) {
                          BOOST_CHECK_EQUAL(error.what(), "x.safetensors: " + what);
                          return error.status() == ExitStatus::kBadData;
                        });
}

std::string tensor(const std::string& rest) { return R"({"a":{)" + rest + "}}"; }

}  // namespace

BOOST_AUTO_TEST_CASE(tensors_stand_in_the_order_of_their_data) {
  const auto header = io::parse_tensor_header(
      "x",
      R"({"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
      R"("__metadata__":{"format":"pt"},"none":{"data_offsets":[8,8],"shape":[0,9223372036854775807],)"
      R"("dtype":"F32"},"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
      R"("new":{"dtype":"Q7","shape":[5],"data_offsets":[20,23]}}   )",
      23);
  BOOST_REQUIRE_EQUAL(header.tensors.size(), 4U);
  BOOST_CHECK_EQUAL(header.tensors[0].name, "a");
  BOOST_CHECK_EQUAL(header.tensors[0].count(), 1);
  BOOST_CHECK_EQUAL(header.tensors[1].name, "none");
  BOOST_CHECK_EQUAL(header.tensors[1].count(), 0);
  BOOST_CHECK_EQUAL(header.tensors[2].name, "b");
  BOOST_CHECK(header.tensors[2].shape == (std::vector<std::int64_t>{2, 3}));
  BOOST_CHECK_EQUAL(header.tensors[2].offset, 8);
  BOOST_CHECK_EQUAL(header.tensors[2].bytes, 12);
  BOOST_CHECK_EQUAL(header.tensors[3].dtype, "Q7");
  BOOST_CHECK_EQUAL(header.metadata.at("format"), "pt");
  BOOST_CHECK_EQUAL(header.data_bytes(), 23);
  BOOST_CHECK(header.find("b") == &header.tensors[2]);
  BOOST_CHECK(header.find("c") == nullptr);
  BOOST_CHECK(io::parse_tensor_header("x", "{}", 0).tensors.empty());
}

BOOST_AUTO_TEST_CASE(what_is_written_is_read) {
  const auto made = io::make_tensor_header(
      {{"w\"\xc3\xa9", "F32", {2, 2}, 0, 0}, {"b", "BF16", {3}, 0, 0}}, {{"k", "v"}});
  BOOST_CHECK_EQUAL(made.data_start() % 8, 0);
  std::ofstream("x.safetensors", std::ios::binary)
      << io::spell_tensor_header(made) << std::string(22, 'x');
  const auto read = io::read_tensor_header(io::InputFile("x.safetensors"));
  BOOST_CHECK_EQUAL(read.text, made.text);
  BOOST_REQUIRE_EQUAL(read.tensors.size(), 2U);
  BOOST_CHECK_EQUAL(read.tensors[0].name, "w\"\xc3\xa9");
  BOOST_CHECK_EQUAL(read.tensors[1].offset, 16);
  BOOST_CHECK_EQUAL(read.tensors[1].bytes, 6);
}

BOOST_AUTO_TEST_CASE(lying_files_are_refused) {
  check_file("abc",
             "has 3 bytes; a safetensors file begins with 8 bytes for the length of its header");
  check_file(length_of(100'000'001) + "{}",
             "is no safetensors file: its header would have 100000001 bytes, at most 100000000 "
             "would be right");
  check_file(length_of(UINT64_C(1) << 63) + "{}",
             "is no safetensors file: its header would have 9223372036854775808 bytes, at most "
             "100000000 would be right");
  check_file(length_of(3) + "{}",
             "is truncated: its header has 3 bytes, but only 2 follow its length");
  check_file(length_of(2) + "{}x",
             "has 1 bytes behind its last tensor, which ends at byte 0 of the data");
}

BOOST_AUTO_TEST_CASE(what_is_wrong_with_data_is_named) {
  const std::string one = R"("dtype":"F32","shape":[2],"data_offsets":)";
  check_text(tensor(one + "[0,8]"), 7,
             "tensor \"a\" has the bytes 0 to 8, but the file has 7 bytes of data: it is truncated "
             "or its header wrong");
  check_text(tensor(one + "[4,12]"), 12,
             "tensor \"a\" begins at byte 4, leaving a hole: 0 would be right");
  check_text(R"({"a":{)" + one + R"([0,8]},"b":{)" + one + "[4,12]}}", 12,
             "tensor \"b\" begins at byte 4, inside the one before: 8 would be right");
  check_text(tensor(one + "[0,9]"), 9,
             "tensor \"a\" is [2] of \"F32\", but its data have 9 bytes; 8 would be right");
  check_text(tensor(one + "[8,0]"), 8,
             "tensor \"a\" has data_offsets [8,0]; right are its first byte and the one beyond its "
             "last");
  check_text(tensor(one + "[0,18446744073709551615]"), 8,
             "tensor \"a\" has 18446744073709551615 in its data_offsets, at most "
             "9223372036854775807 would be right");
  check_text(tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"), 8,
             "tensor \"a\" is [4294967296,4294967296] of \"F32\", but its data have 8 bytes");
  check_text(tensor(R"("dtype":"F64","shape":[9223372036854775807],"data_offsets":[0,8])"), 8,
             "tensor \"a\" is [9223372036854775807] of \"F64\", but its data have 8 bytes");
}

BOOST_AUTO_TEST_CASE(what_is_wrong_with_a_header_is_named) {
  const std::string right =
      "; right is {\"NAME\": {\"dtype\": …, \"shape\": […], \"data_offsets\": […]}}";
  const std::string sound = R"("dtype":"U8","shape":[1],"data_offsets":[0,1])";
  check_text("[]", 0, "its header begins with \"[]\", \"{\" would be right");
  check_text("{", 0, "its header is no JSON from byte 1 of 1 on");
  check_text("{}}", 0, "its header is no JSON from byte 3 of 3 on");
  check_text(R"({"a":1})", 0, "its header holds a number as the tensor \"a\"" + right);
  check_text(R"({"a":{"dtype":{}}})", 0,
             "its header holds an object as \"dtype\" of \"a\"" + right);
  check_text(R"({"a":{"shape":[[1]]}})", 0,
             "its header holds a list as \"shape\" of \"a\"" + right);
  check_text(R"({"a":{"shape":[-1]}})", 0,
             "its header holds a negative number as \"shape\" of \"a\"" + right);
  check_text(R"({"a":{"shape":[1.5]}})", 0,
             "its header holds the number \"1.5\" as \"shape\" of \"a\"" + right);
  check_text(R"({"a":{"shape":[99999999999999999999]}})", 0,
             "its header holds the number \"99999999999999999999\" as \"shape\" of \"a\"" + right);
  check_text(tensor(sound + R"(,"more":1)"), 1,
             "tensor \"a\" has a key \"more\"; right are dtype, shape, data_offsets");
  check_text(tensor(R"("dtype":"U8","shape":[1])"), 1, "tensor \"a\" has no data_offsets");
  check_text(tensor(sound + R"(,"dtype":"I8")"), 1, "tensor \"a\" has the key dtype twice");
  check_text(R"({"a":{)" + sound + R"(},"a":{)" + sound + "}}", 1,
             "there are two tensors \"a\"; names occur once");
  check_text(R"({"__metadata__":{"k":"1","k":"2"}})", 0,
             "its __metadata__ has the key \"k\" twice");
  check_text(R"({"__metadata__":{"k":1}})", 0,
             "its header holds a number as \"k\" of \"__metadata__\"" + right);
  check_text(R"({"a":{"data_offsets":[0,1,2]}})", 2,
             "tensor \"a\" has data_offsets [0,1,2]; right are its first byte and the one beyond "
             "its last");
}

BOOST_AUTO_TEST_SUITE_END()
