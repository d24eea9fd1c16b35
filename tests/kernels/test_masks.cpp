#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>

#include "kernels/masks.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

using Entries = std::map<std::pair<std::int64_t, std::uint32_t>, float>;

Entries entries_of(const CsrRows& rows) {
  Entries entries;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const auto r = static_cast<std::size_t>(row);
    for (std::int64_t k = rows.pointers[r]; k < rows.pointers[r + 1]; ++k) {
      entries[{row, rows.indices[static_cast<std::size_t>(k)]}] = rows.value(k);
    }
  }
  return entries;
}

CsrRows few_magnitudes(testing::Random& random, std::int64_t rows, std::int64_t cols) {
  CsrRows csr = testing::random_rows(random, rows, cols, 0.6);
  for (float& value : csr.values) {
    value = static_cast<float>(random.below(7)) - 3;
  }
  return csr;
}

// Keeps the `keep` largest of some entries, sorted by magnitude, then column.
void keep_sorted(std::vector<std::pair<std::uint32_t, float>> entries, std::int64_t row,
                 std::int64_t keep, Entries& kept) {
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::abs(a.second) > std::abs(b.second);
  });
  entries.resize(std::min(entries.size(), static_cast<std::size_t>(keep)));
  for (const auto& [column, value] : entries) kept[{row, column}] = value;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_masks)

BOOST_AUTO_TEST_CASE(kept_counts_round_half_up_in_what_is_pruned) {
  BOOST_TEST(kept_of(10, 0.25) == 7);  // floor(2.5 + 0.5) = 3 go
  BOOST_TEST(kept_of(10, 0) == 10);
  BOOST_TEST(kept_of(10, 1) == 0);
  BOOST_TEST(kept_of(1, 0.5) == 0);
  BOOST_TEST(kept_of(0, 0.5) == 0);
  BOOST_TEST(kept_of(411000000, 0.9) == 41100000);
}

BOOST_AUTO_TEST_CASE(erk_spends_the_whole_budget_and_fills_small_layers) {
  const std::vector<LayerShape> layers = {{300, 784}, {100, 300}, {10, 100}};
  const auto densities = erk_densities(layers, 0.1);
  double kept = 0, total = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto n = static_cast<double>(layers[i].rows * layers[i].cols);
    kept += densities[i] * n;
    total += n;
  }
  BOOST_TEST(kept == 0.1 * total, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(densities[2] == 1);
  BOOST_TEST(densities[0] / densities[1] == (1084.0 / (300 * 784)) / (400.0 / 30000),
             boost::test_tools::tolerance(1e-12));
  BOOST_TEST(erk_densities(layers, 0) == std::vector<double>(3, 0),
             boost::test_tools::per_element());
  BOOST_TEST(erk_densities(layers, 1) == std::vector<double>(3, 1),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(n_of_m_equals_a_sort_of_every_group) {
  testing::Random random(1);
  for (int number = 0; number < 100; ++number) {
    const std::int64_t m = 1 + random.below(6), n = 1 + random.below(m);
    CsrRows rows = few_magnitudes(random, random.below(6), 1 + random.below(30));
    Entries expected;
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::pair<std::uint32_t, float>>>
        groups;
    for (const auto& [place, value] : entries_of(rows)) {
      groups[{place.first, place.second / m}].push_back({place.second, value});
    }
    for (const auto& [group, entries] : groups) keep_sorted(entries, group.first, n, expected);
    keep_n_of_m(rows, n, m);
    BOOST_TEST((entries_of(rows) == expected));
  }
}

BOOST_AUTO_TEST_CASE(per_row_equals_a_sort_of_every_row) {
  testing::Random random(2);
  for (int number = 0; number < 100; ++number) {
    CsrRows rows = few_magnitudes(random, random.below(6), 1 + random.below(30));
    const std::int64_t keep = random.below(12);
    Entries expected;
    std::map<std::int64_t, std::vector<std::pair<std::uint32_t, float>>> by_row;
    for (const auto& [place, value] : entries_of(rows)) {
      by_row[place.first].push_back({place.second, value});
    }
    for (const auto& [row, entries] : by_row) keep_sorted(entries, row, keep, expected);
    keep_per_row(rows, magnitude_keys(rows), keep);
    BOOST_TEST((entries_of(rows) == expected));
  }
}

BOOST_AUTO_TEST_CASE(cut_keeps_the_first_of_the_equals) {
  CsrRows rows;
  rows.cols = 6;
  rows.pointers = {0, 3, 5};
  rows.indices = {0, 2, 4, 1, 5};
  rows.values = {1, -2, 1, -1, 3};
  keep_above(rows, magnitude_keys(rows), {magnitude_key(1.0F), 2});
  BOOST_TEST((entries_of(rows) == Entries{{{0, 0}, 1}, {{0, 2}, -2}, {{0, 4}, 1}, {{1, 5}, 3}}));
}

BOOST_AUTO_TEST_CASE(iso_rows_stay_iso) {
  testing::Random random(3);
  CsrRows rows = testing::random_rows(random, 5, 20, 0.5, true);
  const std::int64_t before = rows.nnz();
  keep_per_row(rows, magnitude_keys(rows), 2);
  BOOST_TEST(rows.nnz() < before);
  BOOST_TEST(rows.iso);
  BOOST_TEST(rows.values.size() == 1U);
  BOOST_TEST(static_cast<std::int64_t>(rows.indices.size()) == rows.nnz());
  keep_from(rows, 2);
  BOOST_TEST(rows.nnz() == 0);
}

BOOST_AUTO_TEST_CASE(threshold_keeps_equals_and_no_zeros) {
  CsrRows rows;
  rows.cols = 4;
  rows.pointers = {0, 4};
  rows.indices = {0, 1, 2, 3};
  rows.values = {0.5F, -0.5F, 0.0F, 0.25F};
  CsrRows all = rows;
  keep_from(rows, 0.5);
  BOOST_TEST((entries_of(rows) == Entries{{{0, 0}, 0.5F}, {{0, 1}, -0.5F}}));
  keep_from(all, 0);
  BOOST_TEST(all.nnz() == 3);
}

BOOST_AUTO_TEST_CASE(masks_and_scores_meet_weights_by_place) {
  testing::Random random(4);
  for (int number = 0; number < 50; ++number) {
    CsrRows rows = testing::random_rows(random, 4, 15, 0.5);
    const CsrRows other = few_magnitudes(random, 4, 15);
    const Entries there = entries_of(other);
    Entries expected;
    std::vector<float> scores;
    for (const auto& [place, value] : entries_of(rows)) {
      const auto at = there.find(place);
      scores.push_back(at == there.end() ? 0 : at->second);
      if (scores.back() != 0) expected[place] = value;
    }
    BOOST_TEST(values_at(rows, other) == scores, boost::test_tools::per_element());
    keep_where(rows, other);
    BOOST_TEST((entries_of(rows) == expected));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
