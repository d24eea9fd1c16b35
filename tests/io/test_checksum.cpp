#include <zlib.h>

#include <boost/test/unit_test.hpp>
#include <limits>
#include <string>
#include <vector>

#include "io/checksum.hpp"
#include "tests/io/checksummed.hpp"

BOOST_AUTO_TEST_SUITE(io_checksum)

using namespace espalier;
using namespace espalier::tests;
using io::Catalog;
using io::ChecksumLayout;

namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

io::Dataset dataset(const std::string& path, std::int64_t count) {
  return {path, io::kFloat32, {count}, {}, false};
}

Catalog small_catalog() {
  Catalog catalog;
  catalog.file = "f.h5";
  catalog.datasets = {{"/b", dataset("/b", 3)}};
  catalog.objects = {{"/", {{"digest", "old"}, {"espalier", "{}"}}},
                     {"/b", {{"unit", 1.5}, {"digest", "kept"}}},
                     {"/espalier", {}},
                     {"/espalier/checksums", {{"note", "not part of it"}}}};
  catalog.datasets[io::kChecksumPath] = {io::kChecksumPath, io::kUint32, {1}, {}, false};
  return catalog;
}

}  // namespace

BOOST_AUTO_TEST_CASE(sums_as_zlib_does) {
  std::string text;
  for (int length = 0; length < 300; ++length) {
    const auto wanted = static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size())));
    BOOST_CHECK_EQUAL(io::crc32(bytes(text)), wanted);
    const std::string head = text.substr(0, text.size() / 3), tail = text.substr(head.size());
    BOOST_CHECK_EQUAL(io::crc32(bytes(tail), io::crc32(bytes(head))), wanted);
    BOOST_CHECK_EQUAL(
        io::combine_crc32(io::crc32(bytes(head)), io::crc32(bytes(tail)), std::ssize(tail)),
        wanted);
    text += static_cast<char>(length * 7);
  }
  BOOST_CHECK_EQUAL(io::crc32(bytes("123456789")), 0xcbf43926U);
}

BOOST_AUTO_TEST_CASE(combines_over_gigabytes) {
  // Zeros appended to a text: the sum of 2^33 zeros comes from doubling.
  std::uint32_t zeros = io::crc32(bytes(std::string(1, '\0')));
  for (int doubling = 0; doubling < 33; ++doubling) {
    zeros = io::combine_crc32(zeros, zeros, std::int64_t{1} << doubling);
  }
  const std::uint32_t text = io::crc32(bytes("abc"));
  std::uint32_t halves = io::combine_crc32(text, 0, 0);
  std::uint32_t half = io::crc32(bytes(std::string(1, '\0')));
  for (int doubling = 0; doubling < 32; ++doubling) {
    half = io::combine_crc32(half, half, std::int64_t{1} << doubling);
  }
  halves = io::combine_crc32(io::combine_crc32(halves, half, std::int64_t{1} << 32), half,
                             std::int64_t{1} << 32);
  BOOST_CHECK_EQUAL(io::combine_crc32(text, zeros, std::int64_t{1} << 33), halves);
}

BOOST_AUTO_TEST_CASE(counts_blocks_and_lays_them_out_by_path) {
  BOOST_CHECK_EQUAL(io::block_count(0), 0);
  BOOST_CHECK_EQUAL(io::block_count(1), 1);
  BOOST_CHECK_EQUAL(io::block_count(65536), 1);
  BOOST_CHECK_EQUAL(io::block_count(65537), 2);
  BOOST_CHECK_EQUAL(io::block_count(std::numeric_limits<std::int64_t>::max()),
                    std::int64_t{1} << 47);
  Catalog catalog;
  for (const auto& [path, count] :
       std::vector<std::pair<std::string, std::int64_t>>{{"/z", 5},
                                                         {"/a/values", 40000},
                                                         {"/a-b", 16384},
                                                         {"/none", 0},
                                                         {io::kChecksumPath, 99}}) {
    catalog.datasets[path] = dataset(path, count);
  }
  const ChecksumLayout layout(catalog);
  BOOST_CHECK_EQUAL(layout.first_block("/a-b"), 0);
  BOOST_CHECK_EQUAL(layout.first_block("/a/values"), 1);
  BOOST_CHECK_EQUAL(layout.first_block("/none"), 4);
  BOOST_CHECK_EQUAL(layout.first_block("/z"), 4);
  BOOST_CHECK_EQUAL(layout.blocks(), 5);
  BOOST_CHECK_THROW(layout.first_block(io::kChecksumPath), BugError);
}

BOOST_AUTO_TEST_CASE(digests_the_canonical_text_and_the_table) {
  BOOST_CHECK_EQUAL(io::sha256("abc"),
                    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::vector<std::uint32_t> table = {0x44434241};
  BOOST_CHECK_EQUAL(
      io::content_digest(small_catalog(), table),
      io::sha256("{\"attributes\":{\"espalier\":\"{}\"},\"path\":\"/\"}\n"
                 "{\"attributes\":{\"digest\":\"kept\",\"unit\":1.5},\"path\":\"/b\",\"shape\":[3],"
                 "\"type\":\"float32\"}\n"
                 "{\"attributes\":{},\"path\":\"/espalier\"}\nABCD"));
}

BOOST_AUTO_TEST_CASE(the_digest_knows_content_and_not_storage) {
  const std::vector<std::uint32_t> table = {1};
  const std::string digest = io::content_digest(small_catalog(), table);
  Catalog stored_otherwise = small_catalog();
  stored_otherwise.file = "elsewhere.h5";
  stored_otherwise.file_bytes = 7;
  stored_otherwise.datasets["/b"].filtered = true;
  stored_otherwise.datasets["/b"].offset = 800;
  stored_otherwise.objects["/"]["digest"] = "new";
  BOOST_CHECK_EQUAL(io::content_digest(stored_otherwise, table), digest);

  Catalog catalog = small_catalog();
  catalog.objects["/b"]["unit"] = 1.25;
  BOOST_CHECK_NE(io::content_digest(catalog, table), digest);
  catalog = small_catalog();
  catalog.datasets["/b"].shape = {3, 1};
  BOOST_CHECK_NE(io::content_digest(catalog, table), digest);
  catalog = small_catalog();
  catalog.datasets["/b"].type = io::kUint32;
  BOOST_CHECK_NE(io::content_digest(catalog, table), digest);
  catalog = small_catalog();
  catalog.objects["/empty"];
  BOOST_CHECK_NE(io::content_digest(catalog, table), digest);
  const std::vector<std::uint32_t> other = {2};
  BOOST_CHECK_NE(io::content_digest(small_catalog(), other), digest);
}

BOOST_AUTO_TEST_SUITE_END()
