#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "framework/random.hpp"
#include "io/side_file.hpp"
#include "io/slabs.hpp"
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

// Pieces of several parts stay where they are put, and come in order with what aligns them.
BOOST_AUTO_TEST_CASE(slabs_give_back_what_was_put_in) {
  for (const std::int64_t slab_bytes : {8, 100, 4096}) {
    io::Slabs slabs(slab_bytes);
    RandomStream random(7, 0, 0);
    std::string all;
    struct Put {
      std::int64_t position;
      std::string text;
      const std::byte* where;
    };
    std::vector<Put> puts;
    for (int i = 0; i < 200; ++i) {
      std::string first(random.next_below(150), 'a'), second(random.next_below(9), '\0');
      for (char& c : second) {
        c = static_cast<char>(random.next_below(256));
      }
      const std::int64_t position = slabs.append({bytes(first), bytes(second)});
      BOOST_CHECK_EQUAL(position, all.size());
      const auto found = slabs.at(position, std::ssize(first) + std::ssize(second));
      puts.push_back({position, first + second, found.data()});
      all += first + second;
      all.resize((all.size() + 7) / 8 * 8, '\0');
    }
    BOOST_CHECK_EQUAL(slabs.bytes(), all.size());
    for (const Put& put : puts) {
      const auto found = slabs.at(put.position, std::ssize(put.text));
      BOOST_CHECK(std::equal(found.begin(), found.end(), bytes(put.text).begin()));
      BOOST_CHECK(put.text.empty() || found.data() == put.where);
      BOOST_CHECK_EQUAL(reinterpret_cast<std::uintptr_t>(put.where) % 8, 0);
    }
    std::string whole;
    slabs.for_each([&](std::int64_t position, std::span<const std::byte> part) {
      BOOST_CHECK_EQUAL(position, whole.size());
      whole.append(reinterpret_cast<const char*>(part.data()), part.size());
    });
    BOOST_CHECK(whole == all);
    slabs.clear();
    BOOST_CHECK_EQUAL(slabs.append({bytes("x")}), 0);
  }
}

BOOST_AUTO_TEST_SUITE_END()
