#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "framework/error.hpp"
#include "framework/random.hpp"
#include "framework/shard.hpp"

BOOST_AUTO_TEST_SUITE(framework_shard)

using namespace espalier;

namespace {

std::vector<std::int64_t> prefix_sums(const std::vector<std::int64_t>& nnz_of_row) {
  std::vector<std::int64_t> before(nnz_of_row.size() + 1, 0);
  std::partial_sum(nnz_of_row.begin(), nnz_of_row.end(), before.begin() + 1);
  return before;
}

std::vector<std::int64_t> split(const std::vector<std::int64_t>& before, int parts) {
  return split_by_nnz(static_cast<std::int64_t>(before.size()) - 1, parts,
                      [&](std::int64_t row) { return before.at(static_cast<std::size_t>(row)); });
}

// What every split promises: it covers the rows in order, and a part's weight is off the mean by
// less than one row's weight.
void check_split(const std::vector<std::int64_t>& nnz_of_row, int parts) {
  BOOST_TEST_CONTEXT(nnz_of_row.size() << " rows in " << parts << " parts") {
    const auto before = prefix_sums(nnz_of_row);
    const auto rows = static_cast<std::int64_t>(nnz_of_row.size());
    const auto bounds = split(before, parts);
    BOOST_TEST_REQUIRE(bounds.size() == static_cast<std::size_t>(parts) + 1);
    BOOST_TEST(bounds.front() == 0);
    BOOST_TEST(bounds.back() == rows);
    BOOST_TEST(std::is_sorted(bounds.begin(), bounds.end()));
    const double mean = static_cast<double>(before.back() + rows) / parts;
    std::int64_t heaviest = 0;
    for (const std::int64_t nnz : nnz_of_row) {
      heaviest = std::max(heaviest, nnz + 1);
    }
    for (std::size_t part = 0; part + 1 < bounds.size(); ++part) {
      const auto begin = static_cast<std::size_t>(bounds[part]);
      const auto end = static_cast<std::size_t>(bounds[part + 1]);
      const auto weight = static_cast<double>(before[end] - before[begin]) +
                          static_cast<double>(bounds[part + 1] - bounds[part]);
      BOOST_TEST(std::abs(weight - mean) <= static_cast<double>(heaviest));
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto part = static_cast<std::size_t>(owner_in(bounds, row));
      BOOST_TEST(bounds[part] <= row);
      BOOST_TEST(row < bounds[part + 1]);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(even_parts_cover_in_order_and_differ_by_one) {
  for (const std::int64_t count : {0, 1, 2, 3, 7, 12, 100}) {
    for (const int parts : {1, 2, 3, 5, 12, 13}) {
      std::int64_t next = 0;
      for (int part = 0; part < parts; ++part) {
        const Range range = split_evenly(count, parts, part);
        BOOST_TEST(range.begin == next);
        BOOST_TEST(range.size() == count / parts + (part < count % parts ? 1 : 0));
        BOOST_TEST(range.empty() == (range.size() == 0));
        next = range.end;
      }
      BOOST_TEST(next == count);
    }
  }
}

BOOST_AUTO_TEST_CASE(owner_evenly_is_the_inverse_of_split_evenly) {
  for (const std::int64_t count : {1, 2, 3, 7, 12, 100}) {
    for (const int parts : {1, 2, 3, 5, 12, 13}) {
      for (std::int64_t index = 0; index < count; ++index) {
        const Range range = split_evenly(count, parts, owner_evenly(count, parts, index));
        BOOST_TEST(range.begin <= index);
        BOOST_TEST(index < range.end);
      }
    }
  }
  const std::int64_t huge = std::int64_t{1} << 60;
  BOOST_TEST(owner_evenly(huge, 4096, huge - 1) == 4095);
  BOOST_TEST(split_evenly(huge, 4096, 4095).end == huge);
}

BOOST_AUTO_TEST_CASE(what_lies_outside_is_our_bug) {
  BOOST_CHECK_THROW(split_evenly(5, 0, 0), BugError);
  BOOST_CHECK_THROW(split_evenly(5, 2, 2), BugError);
  BOOST_CHECK_THROW(split_evenly(-1, 2, 0), BugError);
  BOOST_CHECK_THROW(owner_evenly(5, 2, 5), BugError);
  BOOST_CHECK_THROW(owner_evenly(0, 2, 0), BugError);
  const std::vector<std::int64_t> bounds = {0, 2, 4};
  BOOST_CHECK_THROW(owner_in(bounds, 4), BugError);
  BOOST_CHECK_THROW(owner_in(bounds, -1), BugError);
}

BOOST_AUTO_TEST_CASE(split_by_nnz_keeps_its_promises) {
  std::vector<std::vector<std::int64_t>> networks = {
      {},
      {5},
      {0, 0, 0, 0},
      {1, 1, 1, 1, 1, 1, 1, 1},
      {1000, 1, 1, 1, 1, 1},
      {1, 1, 1, 1, 1, 1000},
      {0, 0, 500, 0, 0, 500, 0},
  };
  RandomStream random(11, 0, 0);
  std::vector<std::int64_t> skewed(300);
  for (std::int64_t& nnz : skewed) {
    const std::uint64_t bound = std::uint64_t{1} << random.next_below(12);
    nnz = static_cast<std::int64_t>(random.next_below(bound));
  }
  networks.push_back(skewed);
  for (const auto& nnz_of_row : networks) {
    for (const int parts : {1, 2, 3, 4, 7, 64}) {
      check_split(nnz_of_row, parts);
    }
  }
}

BOOST_AUTO_TEST_CASE(more_parts_than_rows_leave_some_empty) {
  const auto bounds = split(prefix_sums({3, 3, 3}), 9);
  int filled = 0;
  for (std::size_t part = 0; part + 1 < bounds.size(); ++part) {
    filled += bounds[part] < bounds[part + 1] ? 1 : 0;
  }
  BOOST_TEST(filled == 3);
  for (const std::int64_t row : {0, 1, 2}) {
    const auto part = static_cast<std::size_t>(owner_in(bounds, row));
    BOOST_TEST(bounds[part + 1] - bounds[part] == 1);
  }
}

BOOST_AUTO_TEST_CASE(equal_rows_come_out_even) {
  const auto bounds = split(prefix_sums(std::vector<std::int64_t>(1024, 32)), 4);
  const std::vector<std::int64_t> expected = {0, 256, 512, 768, 1024};
  BOOST_TEST(bounds == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(huge_networks_neither_overflow_nor_ask_often) {
  const std::int64_t rows = std::int64_t{1} << 40;
  const int parts = 100'000;
  std::int64_t asked = 0;
  const auto bounds = split_by_nnz(rows, parts, [&](std::int64_t row) {
    ++asked;
    return row << 20;
  });
  BOOST_TEST(bounds.back() == rows);
  BOOST_TEST(std::is_sorted(bounds.begin(), bounds.end()));
  BOOST_TEST(std::abs(bounds[parts / 2] - rows / 2) <= 1);
  BOOST_TEST(asked <= std::int64_t{parts} * 42);
}

BOOST_AUTO_TEST_CASE(gaps) {
  using Ranges = std::vector<Range>;
  BOOST_TEST((gaps_between({}, 0) == Ranges{}));
  BOOST_TEST((gaps_between({}, 5) == Ranges{{0, 5}}));
  BOOST_TEST((gaps_between({{0, 2}, {2, 5}}, 5) == Ranges{}));
  BOOST_TEST((gaps_between({{1, 2}, {3, 4}}, 5) == Ranges{{0, 1}, {2, 3}, {4, 5}}));
}

BOOST_AUTO_TEST_SUITE_END()
