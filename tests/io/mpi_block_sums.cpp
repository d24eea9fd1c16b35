// The checksum table is that of the whole data, whoever wrote which part of it.
#include "io/block_sums.hpp"

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "framework/error.hpp"
#include "framework/random.hpp"
#include "framework/shard.hpp"
#include "io/checksum.hpp"
#include "tests/io/made_files.hpp"

BOOST_AUTO_TEST_SUITE(io_block_sums)

using namespace espalier;
using namespace espalier::tests;

namespace {

std::vector<std::byte> content_of(std::int64_t dataset, std::int64_t bytes) {
  std::vector<std::byte> content;
  RandomStream random(5, 1, static_cast<std::uint64_t>(dataset));
  for (std::int64_t i = 0; i < bytes; ++i) {
    content.push_back(static_cast<std::byte>(random.next_word() & 255U));
  }
  return content;
}

const std::vector<std::int64_t> kBytes = {0, 1, 65535, 65536, 65537, 3 * 65536, 200003, 17};

struct Layout {
  std::vector<io::SummedDataset> datasets;
  std::int64_t blocks = 0;
};
Layout layout_of(const std::vector<std::int64_t>& bytes) {
  Layout layout;
  for (std::size_t d = 0; d < bytes.size(); ++d) {
    layout.datasets.push_back({text("/d", d), bytes[d], layout.blocks});
    layout.blocks += io::block_count(bytes[d]);
  }
  return layout;
}

std::vector<std::uint32_t> expected_table() {
  std::vector<std::uint32_t> table;
  for (std::size_t d = 0; d < kBytes.size(); ++d) {
    const auto content = content_of(static_cast<std::int64_t>(d), kBytes[d]);
    for (std::size_t at = 0; at < content.size(); at += 65536) {
      table.push_back(io::crc32(
          std::span(content).subspan(at, std::min<std::size_t>(65536, content.size() - at))));
    }
  }
  return table;
}

}  // namespace

BOOST_AUTO_TEST_CASE(any_division_gives_the_table_of_the_whole) {
  const Comm world(MPI_COMM_WORLD);
  const auto expected = expected_table();
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Layout layout = layout_of(kBytes);
    io::BlockSums sums(layout.datasets, layout.blocks);
    RandomStream random(seed, 2, 0);
    for (std::size_t d = 0; d < kBytes.size(); ++d) {
      const auto content = content_of(static_cast<std::int64_t>(d), kBytes[d]);
      // Pieces of any length, each dealt to any rank.
      for (std::size_t at = 0; at < content.size();) {
        const std::size_t most = seed % 3 == 0 ? 200 : seed % 3 == 1 ? 70000 : 300000;
        const auto length = std::min<std::size_t>(1 + random.next_below(most), content.size() - at);
        if (random.next_below(static_cast<std::uint64_t>(world.ranks())) ==
            static_cast<std::uint64_t>(world.rank())) {
          sums.add(static_cast<std::int64_t>(d), static_cast<std::int64_t>(at),
                   std::span(content).subspan(at, length));
        }
        at += length;
      }
    }
    const auto table = sums.exchange_table(world);
    BOOST_CHECK_EQUAL_COLLECTIONS(table.begin(), table.end(), expected.begin(), expected.end());
  }
}

BOOST_AUTO_TEST_CASE(a_hole_or_an_overlap_is_our_bug) {
  const Comm world(MPI_COMM_WORLD);
  const std::vector<std::byte> content(100000);
  const auto outcome = [&](std::vector<Range> ranges) {
    const Layout layout = layout_of({5, 100000});
    io::BlockSums sums(layout.datasets, layout.blocks);
    if (world.rank() == 0) {
      sums.add(0, 0, std::span(content).first(5));
    }
    // The last rank is not rank 0 if there are others.
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      if (world.rank() == static_cast<int>(i) % world.ranks()) {
        sums.add(1, ranges[i].begin,
                 std::span(content).first(static_cast<std::size_t>(ranges[i].size())));
      }
    }
    return error_of([&] { sums.exchange_table(world); });
  };
  BOOST_CHECK_EQUAL(outcome({{0, 65536}, {65536, 100000}}), "no error");
  const auto says = [&](const std::vector<Range>& ranges, const std::string& what) {
    const std::string found = outcome(ranges);
    BOOST_CHECK_MESSAGE(found.starts_with("70 ") && found.find("/d1: ") != std::string::npos &&
                            found.find(what) != std::string::npos,
                        found);
  };
  says({{0, 65536}, {65537, 100000}}, "bytes 65536 to 65536 are not");
  says({{0, 65536}, {65536, 99999}}, "bytes 99999 to 99999 are not");
  says({{1, 100000}}, "bytes 0 to 0 are not");
  says({}, "bytes 0 to 99999 are not");
  says({{0, 65536}, {65535, 100000}}, "byte 65535 is");
  says({{0, 100000}, {10, 20}}, "byte 10 is");
}

BOOST_AUTO_TEST_SUITE_END()
