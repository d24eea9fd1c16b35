#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "framework/random.hpp"
#include "io/side_file.hpp"
#include "tests/io/made_files.hpp"

BOOST_AUTO_TEST_SUITE(io_side_file)

using namespace espalier;
using namespace espalier::tests;
using io::SideFile;

namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

// Appends pieces of many lengths and reads ranges back.
void check_round_trip(std::int64_t kept_bytes) {
  SideFile file(".", kept_bytes);
  std::string all;
  RandomStream random(3, 0, 0);
  for (int i = 0; i < 200; ++i) {
    std::string piece(random.next_below(100), '\0');
    for (char& c : piece) {
      c = static_cast<char>(random.next_below(256));
    }
    BOOST_CHECK_EQUAL(file.append(bytes(piece)), all.size());
    all += piece;
  }
  BOOST_CHECK_EQUAL(file.size(), all.size());
  for (int i = 0; i < 200; ++i) {
    const auto begin = random.next_below(all.size() + 1);
    std::string found(random.next_below(all.size() - begin + 1), '\0');
    file.read(static_cast<std::int64_t>(begin), std::as_writable_bytes(std::span(found)));
    BOOST_CHECK(found == all.substr(begin, found.size()));
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(returns_what_was_appended_from_memory_or_disk) {
  for (const std::int64_t kept : {0, 1, 1000, 5000, 1 << 20}) {
    check_round_trip(kept);
  }
}

BOOST_AUTO_TEST_CASE(leaves_nothing_behind) {
  {
    SideFile file(".", 0);
    file.append(bytes("abc"));
    BOOST_CHECK(std::filesystem::is_empty("."));
  }
  BOOST_CHECK(std::filesystem::is_empty("."));
}

BOOST_AUTO_TEST_CASE(touches_the_disk_only_beyond_what_is_kept) {
  SideFile file("no/such/folder", 4);
  file.append(bytes("abcd"));
  const std::string found = error_of([&] { file.append(bytes("e")); });
  BOOST_CHECK_MESSAGE(found.starts_with("73 making a temporary file in no/such/folder: "), found);
  BOOST_CHECK_EQUAL(file.size(), 4);
}

BOOST_AUTO_TEST_CASE(reading_beyond_the_end_is_our_bug) {
  SideFile file(".");
  file.append(bytes("abc"));
  std::string out(2, '\0');
  BOOST_CHECK_THROW(file.read(2, std::as_writable_bytes(std::span(out))), BugError);
}

BOOST_AUTO_TEST_SUITE_END()
