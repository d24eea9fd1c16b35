// label: threads
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <vector>

#include "framework/parallel.hpp"
#include "jobs/generate.hpp"
#include "jobs/rounds.hpp"

BOOST_AUTO_TEST_SUITE(jobs_random_rows)

using namespace espalier;
using jobs::RandomRow;

namespace {

std::vector<std::uint32_t> places(const RandomRow& row) {
  std::vector<std::uint32_t> columns;
  row.draw(columns);
  return columns;
}

}  // namespace

BOOST_AUTO_TEST_CASE(none_and_all) {
  BOOST_CHECK(places({1, 0, 0, 50, 0}).empty());
  const auto all = places({1, 0, 0, 50, 1});
  BOOST_CHECK_EQUAL(all.size(), 50U);
  BOOST_CHECK_EQUAL(all.back(), 49U);
  BOOST_CHECK_EQUAL((RandomRow{1, 0, 0, 50, 1}.count()), 50);
  BOOST_CHECK_LE((RandomRow{1, 0, 0, INT64_C(4000000000), 1e-12}.count()), 1);
}

// Each place is taken equally often: within five standard deviations over 4000 rows.
BOOST_AUTO_TEST_CASE(every_place_is_taken_with_the_density) {
  constexpr std::int64_t kRows = 4000, kCols = 40;
  for (const double density : {0.01, 0.1, 0.5, 0.9, 0.999}) {
    std::vector<int> taken(kCols), after_a_taken_one(2);
    for (std::int64_t r = 0; r < kRows; ++r) {
      const RandomRow row{7, 3, r, kCols, density};
      const auto columns = places(row);
      BOOST_CHECK_EQUAL(row.count(), std::ssize(columns));
      BOOST_CHECK(std::adjacent_find(columns.begin(), columns.end(), std::greater_equal<>()) ==
                  columns.end());
      std::vector<int> here(kCols);
      for (const std::uint32_t column : columns) {
        ++taken.at(column);
        here.at(column) = 1;
      }
      for (std::size_t c = 1; c < kCols; ++c) {
        after_a_taken_one[static_cast<std::size_t>(here[c])] += here[c - 1];
      }
    }
    const double slack = 5 * std::sqrt(density * (1 - density) * kRows);
    for (const int count : taken) {
      BOOST_CHECK_LE(std::abs(count - density * kRows), slack);
    }
    const double pairs = after_a_taken_one[0] + after_a_taken_one[1];
    BOOST_CHECK_LE(std::abs(after_a_taken_one[1] - density * pairs),
                   5 * std::sqrt(density * (1 - density) * pairs));
  }
}

BOOST_AUTO_TEST_CASE(keys_are_told_apart) {
  const RandomRow row{7, 3, 11, 1000, 0.2};
  BOOST_CHECK(places(row) == places(row));
  BOOST_CHECK(places(row) != places({8, 3, 11, 1000, 0.2}));
  BOOST_CHECK(places(row) != places({7, 4, 11, 1000, 0.2}));
  BOOST_CHECK(places(row) != places({7, 3, 12, 1000, 0.2}));
}

BOOST_AUTO_TEST_CASE(threads_do_not_change_rows) {
  const auto make = [](std::int64_t begin, std::int64_t end) {
    return jobs::make_rows({begin, end}, 300, std::nullopt,
                           [](std::int64_t row, auto& indices, auto& values) {
                             RandomRow{1, 2, row, 300, 0.1}.draw(indices);
                             while (values.size() < indices.size()) {
                               values.push_back(static_cast<float>(row));
                             }
                           });
  };
  const auto count = [](std::int64_t row) { return RandomRow{1, 2, row, 300, 0.1}.count(); };
  set_threads(1);
  const auto alone = make(5, 700);
  BOOST_CHECK_EQUAL(jobs::count_rows({5, 700}, count), alone.nnz());
  set_threads(4);
  const auto together = make(5, 700);
  BOOST_CHECK_EQUAL(jobs::count_rows({5, 700}, count), alone.nnz());
  set_threads(1);
  BOOST_CHECK_EQUAL(together.first_row, 5);
  BOOST_CHECK_EQUAL(together.rows(), 695);
  BOOST_CHECK(together.pointers == alone.pointers);
  BOOST_CHECK(together.indices == alone.indices);
  BOOST_CHECK(together.values == alone.values);
  BOOST_CHECK_EQUAL(make(5, 5).rows(), 0);
}

BOOST_AUTO_TEST_CASE(rounds_cover_everything_once_in_order) {
  for (const std::int64_t count : {0, 1, 2, 7, 100}) {
    for (const int ranks : {1, 2, 3, 8}) {
      for (const std::int64_t most : {INT64_C(1), INT64_C(3), INT64_C(99), INT64_MAX}) {
        const jobs::Rounds rounds{count, ranks, most};
        std::int64_t next = 0;
        for (std::int64_t round = 0; round < rounds.rounds(); ++round) {
          for (int rank = 0; rank < ranks; ++rank) {
            const Range range = rounds.range(round, rank);
            BOOST_CHECK_EQUAL(range.begin, next);
            BOOST_CHECK_GE(range.size(), 0);
            BOOST_CHECK_LE(range.size(), most);
            next = range.end;
          }
        }
        BOOST_CHECK_EQUAL(next, count);
        BOOST_CHECK_EQUAL(rounds.rounds() == 0, count == 0);
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
