#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "framework/random.hpp"
#include "io/data_file.hpp"
#include "io/h5_array.hpp"
#include "tests/io/checksummed.hpp"

BOOST_AUTO_TEST_SUITE(io_data_file)

using namespace espalier;
using namespace espalier::tests;
using io::Catalog;
using io::DataFile;
using io::Dataset;

namespace {

template <typename T>
std::vector<T> read(const DataFile& file, const std::string& path, std::int64_t first,
                    std::size_t count) {
  std::vector<T> out(count);
  file.read(file.catalog().dataset(path), first, std::span(out));
  return out;
}

template <typename T>
std::vector<T> ramp(std::size_t count, T from = 0) {
  std::vector<T> values(count);
  std::iota(values.begin(), values.end(), from);
  return values;
}

template <typename T, typename U>
void check_part(const std::vector<T>& found, const std::vector<U>& all, std::size_t first) {
  BOOST_REQUIRE_LE(first + found.size(), all.size());
  for (std::size_t k = 0; k < found.size(); ++k) {
    if (found[k] != static_cast<T>(all[first + k])) {
      BOOST_ERROR("element " << first + k << " is " << found[k]);
      return;
    }
  }
}

// Many ranges, some over the borders of blocks, pieces and the dataset.
template <typename T, typename U>
void check_ranges(const DataFile& file, const std::string& path, const std::vector<U>& all) {
  check_part(read<T>(file, path, 0, all.size()), all, 0);
  RandomStream random(7, 0, 0);
  for (int i = 0; i < 60; ++i) {
    const auto first = random.next_below(all.size() + 1);
    const auto count = random.next_below(std::min<std::uint64_t>(all.size() - first, 90000) + 1);
    check_part(read<T>(file, path, static_cast<std::int64_t>(first), count), all, first);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(reads_any_range_wherever_it_lies) {
  const auto bytes = ramp<std::uint8_t>(300000);
  const auto numbers = ramp<std::int64_t>(70001, -35000);
  const auto table = ramp<float>(301 * 257);
  for (const bool summed : {false, true}) {
    {
      MadeFile file("plain.h5");
      file.dataset("/bytes", bytes);
      file.dataset("/numbers", numbers);
      file.dataset("/swapped", numbers, {}, {.type = H5T_STD_I64BE});
      file.dataset("/table", table, {{301, 257}});
      file.dataset("/packed/bytes", bytes, {}, {.chunk = {70000}, .deflate = 1});
      file.dataset("/packed/swapped", numbers, {}, {.chunk = {999}, .type = H5T_STD_I64BE});
      file.dataset("/packed/table", table, {{301, 257}}, {.chunk = {16, 100}, .deflate = 1});
      file.dataset("/small", ramp<std::uint16_t>(100), {}, {.compact = true});
      file.dataset("/scalar", std::vector<double>{2.5}, std::vector<hsize_t>{});
    }
    if (summed) {
      add_checksums("plain.h5");
    }
    const Catalog catalog = walked("plain.h5");
    const DataFile file(catalog);
    BOOST_CHECK_EQUAL(file.has_checksums(), summed);
    for (const std::string prefix : {"/", "/packed/"}) {
      check_ranges<std::int64_t>(file, prefix + "bytes", bytes);
      check_ranges<float>(file, prefix + "bytes", bytes);
      check_ranges<std::int64_t>(file, prefix + "swapped", numbers);
      check_ranges<float>(file, prefix + "table", table);
      check_ranges<double>(file, prefix + "table", table);
    }
    check_ranges<std::int64_t>(file, "/numbers", numbers);
    check_ranges<std::uint32_t>(file, "/small", ramp<std::uint16_t>(100));
    BOOST_CHECK_EQUAL(read<double>(file, "/scalar", 0, 1).at(0), 2.5);
    BOOST_CHECK_GT(file.bytes_read(), 0);
  }
}

BOOST_AUTO_TEST_CASE(reads_a_hypercube_in_boxes) {
  const std::vector<std::int64_t> shape = {3, 4, 1, 5};
  for (std::int64_t first = 0; first < 60; ++first) {
    for (std::int64_t end = first + 1; end <= 60; ++end) {
      std::int64_t at = first;
      int boxes = 0;
      while (at < end) {
        const io::Box box = io::first_box(shape, at, end);
        std::int64_t length = 1, start = 0;
        for (std::size_t d = 0; d < shape.size(); ++d) {
          BOOST_REQUIRE_LE(box.start[d] + box.count[d], static_cast<std::uint64_t>(shape[d]));
          length *= static_cast<std::int64_t>(box.count[d]);
          start = start * shape[d] + static_cast<std::int64_t>(box.start[d]);
        }
        BOOST_REQUIRE_EQUAL(start, at);
        at += length;
        ++boxes;
      }
      BOOST_REQUIRE_EQUAL(at, end);
      BOOST_REQUIRE_LE(boxes, 5);
    }
  }
  const auto values = ramp<std::int32_t>(60);
  {
    MadeFile file("cube.h5");
    file.dataset("/cube", values, {{3, 4, 1, 5}}, {.chunk = {2, 3, 1, 2}});
  }
  const Catalog catalog = walked("cube.h5");
  check_ranges<std::int64_t>(DataFile(catalog), "/cube", values);
}

BOOST_AUTO_TEST_CASE(reads_raw_bytes_as_stored) {
  const std::string stored = "one  two  three";
  for (const bool packed : {false, true}) {
    {
      MadeFile file("raw.h5");
      const hid_t text = H5Tcopy(H5T_C_S1);
      H5Tset_size(text, 5);
      H5Tset_strpad(text, H5T_STR_SPACEPAD);
      const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
      const hsize_t count = 3, chunk = 2;
      if (packed) {
        H5Pset_chunk(list, 1, &chunk);
      }
      const hid_t space = H5Screate_simple(1, &count, nullptr);
      const hid_t made =
          good(H5Dcreate2(file.id(), "text", text, space, H5P_DEFAULT, list, H5P_DEFAULT));
      good(H5Dwrite(made, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, stored.data()));
      file.dataset("/swapped", std::vector<std::int16_t>{1, 2}, {},
                   {.chunk = packed ? std::vector<hsize_t>{2} : std::vector<hsize_t>{},
                    .type = H5T_STD_I16BE});
      file.dataset("/other", std::vector<float>{1}, {}, {.type = H5T_NATIVE_LDOUBLE});
    }
    add_checksums("raw.h5");
    const Catalog catalog = walked("raw.h5");
    const DataFile file(catalog);
    std::string found(10, '\0');
    file.read_raw(catalog.dataset("/text"), 1, std::as_writable_bytes(std::span(found)));
    BOOST_CHECK_EQUAL(found, stored.substr(5));
    std::string swapped(4, 'x');
    file.read_raw(catalog.dataset("/swapped"), 0, std::as_writable_bytes(std::span(swapped)));
    BOOST_CHECK_EQUAL(swapped, std::string("\0\1\0\2", 4));
    BOOST_CHECK(error_of([&] {
                  read<float>(file, "/text", 0, 1);
                }).ends_with("/text: is of type text[5], numbers would be right"));
    BOOST_CHECK(error_of([&] {
                  read<float>(file, "/other", 0, 1);
                }).ends_with("/other: its elements are neither numbers nor fixed-length text"));
  }
}

BOOST_AUTO_TEST_CASE(refuses_what_does_not_fit) {
  {
    MadeFile file("fit.h5");
    file.dataset("/long", std::vector<std::int64_t>{5, 6, -7, std::int64_t{1} << 40});
    file.dataset("/double", std::vector<double>{1, 2, 1e300}, {}, {.chunk = {2}});
  }
  const Catalog catalog = walked("fit.h5");
  const DataFile file(catalog);
  BOOST_CHECK_EQUAL(error_of([&] { read<std::uint32_t>(file, "/long", 1, 3); }),
                    "65 fit.h5: /long[2] is -7, which does not fit uint32 (0 to 4294967295)");
  BOOST_CHECK_EQUAL(error_of([&] { read<std::uint32_t>(file, "/long", 3, 1); }),
                    "65 fit.h5: /long[3] is 1099511627776, which does not fit uint32 (0 to "
                    "4294967295)");
  BOOST_CHECK_EQUAL(error_of([&] { read<float>(file, "/double", 0, 3); }),
                    "65 fit.h5: /double[2] is 1e+300, which does not fit float32 (-3.40282e+38 to "
                    "3.40282e+38)");
  BOOST_CHECK_EQUAL(error_of([&] { read<std::int64_t>(file, "/double", 0, 1); }),
                    "65 fit.h5: /double: is of type float64, whole numbers would be right");
  for (const auto& [first, count] : {std::pair{3, 2U}, {5, 0U}, {-1, 1U}}) {
    BOOST_CHECK_EQUAL(error_of([&, f = first, c = count] { read<double>(file, "/long", f, c); }),
                      text("65 fit.h5: /long: has 4 elements, but ", count, " from element ", first,
                           " on are wanted"));
  }
  BOOST_CHECK(read<double>(file, "/long", 4, 0).empty());
}

BOOST_AUTO_TEST_CASE(searches_ascending_integers) {
  {
    MadeFile file("search.h5");
    file.dataset("/rows", std::vector<std::uint16_t>{0, 0, 2, 2, 2, 7});
    file.dataset("/packed", std::vector<std::int64_t>{0, 0, 2, 2, 2, 7}, {},
                 {.chunk = {2}, .deflate = 1});
    file.dataset("/none", std::vector<std::int32_t>{});
  }
  const Catalog catalog = walked("search.h5");
  const DataFile file(catalog);
  for (const char* path : {"/rows", "/packed"}) {
    const Dataset& rows = catalog.dataset(path);
    const std::vector<std::int64_t> wanted = {0, 2, 2, 5, 5, 5, 5, 5, 6, 6};
    for (std::int64_t value = 0; value < std::ssize(wanted); ++value) {
      BOOST_CHECK_EQUAL(file.lower_bound(rows, value), wanted[static_cast<std::size_t>(value)]);
    }
    BOOST_CHECK_EQUAL(file.peek(rows, 5), 7);
    BOOST_CHECK(error_of([&] { file.peek(rows, 6); }).starts_with("65 "));
  }
  BOOST_CHECK_EQUAL(file.lower_bound(catalog.dataset("/none"), 3), 0);
}

BOOST_AUTO_TEST_CASE(a_flipped_byte_in_any_block_is_found_where_it_is_read) {
  const auto bytes = ramp<std::uint8_t>(200000);
  {
    MadeFile file("sums.h5");
    file.dataset("/a", ramp<std::uint8_t>(10));
    file.dataset("/data", bytes);
  }
  add_checksums("sums.h5");
  const Catalog catalog = walked("sums.h5");
  const Dataset& data = catalog.dataset("/data");
  BOOST_REQUIRE(data.offset);
  for (const std::int64_t at : {0, 65535, 65536, 150000, 196608, 199999}) {
    flip_byte("sums.h5", *data.offset + at);
    const DataFile file(catalog);
    const std::int64_t block = at / 65536;
    const std::string wanted =
        text("65 sums.h5: /data: damaged: bytes ", block * 65536, " to ",
             std::min<std::int64_t>(199999, block * 65536 + 65535), " (block ", block, ")");
    BOOST_CHECK(read<std::uint32_t>(file, "/a", 0, 10).back() == 9);
    const auto check = [&](std::int64_t first, std::size_t count, bool touched) {
      const std::string found = error_of([&] { read<float>(file, "/data", first, count); });
      BOOST_CHECK_MESSAGE(touched ? found.starts_with(wanted) : found == "no error", found);
    };
    check(0, 200000, true);
    check(block * 65536, 1, true);  // any byte of the block, not the flipped one
    check(std::min<std::int64_t>(block * 65536 + 65535, 199999), 1, true);
    check(0, static_cast<std::size_t>(block * 65536), false);
    check(std::min<std::int64_t>(200000, (block + 1) * 65536), 0, false);
    flip_byte("sums.h5", *data.offset + at);
  }
}

BOOST_AUTO_TEST_CASE(a_damaged_chunk_is_an_error) {
  {
    MadeFile file("chunk.h5");
    std::vector<std::uint32_t> noise(5000);
    RandomStream random(1, 0, 0);
    std::generate(noise.begin(), noise.end(), [&] { return random.next_word(); });
    file.dataset("/packed", noise, {}, {.chunk = {5000}, .deflate = 4});
  }
  flip_byte("chunk.h5", static_cast<std::int64_t>(bytes_of("chunk.h5").size()) - 5000);
  const Catalog catalog = walked("chunk.h5");
  const std::string found =
      error_of([&] { read<std::uint32_t>(DataFile(catalog), "/packed", 0, 5000); });
  BOOST_CHECK_MESSAGE(found.starts_with("65 chunk.h5: /packed: damaged: "), found);
}

BOOST_AUTO_TEST_CASE(notices_that_the_file_has_changed) {
  {
    MadeFile file("changed.h5");
    file.dataset("/data", ramp<float>(100));
    file.dataset("/packed", ramp<float>(100), {}, {.chunk = {10}});
  }
  const Catalog catalog = walked("changed.h5");
  const std::string bytes = bytes_of("changed.h5");
  const DataFile opened(catalog);
  const std::int64_t end = catalog.dataset("/data").offset.value() + 100;
  write_bytes("changed.h5", bytes.substr(0, static_cast<std::size_t>(end)));
  BOOST_CHECK(error_of([&] { DataFile file(catalog); }).starts_with("65 changed.h5: had "));
  BOOST_CHECK(error_of([&] {
                read<float>(opened, "/data", 0, 100);
              }).starts_with(text("65 changed.h5 ends at byte ", end)));
  {
    MadeFile file("changed.h5");
    file.dataset("/packed", ramp<double>(100), {}, {.chunk = {10}});
  }
  BOOST_CHECK_EQUAL(error_of([&] { read<float>(opened, "/packed", 0, 100); }),
                    "65 changed.h5: /packed has changed while the file was in use");
}

BOOST_AUTO_TEST_CASE(a_table_of_the_wrong_size_is_refused) {
  {
    MadeFile file("table.h5");
    file.dataset("/data", ramp<float>(100));
    file.dataset("/espalier/checksums", std::vector<std::uint32_t>{1, 2});
  }
  const Catalog catalog = walked("table.h5");
  BOOST_CHECK_EQUAL(error_of([&] { read<float>(DataFile(catalog), "/data", 0, 1); }),
                    "65 table.h5: /espalier/checksums: is uint32 and has 2 elements; the file's "
                    "data needs 1 checksums of type uint32");
}

BOOST_AUTO_TEST_SUITE_END()
