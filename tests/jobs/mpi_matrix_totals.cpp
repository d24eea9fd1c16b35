#include <boost/test/unit_test.hpp>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "framework/comm.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/unit_bytes.hpp"

BOOST_AUTO_TEST_SUITE(jobs_matrix_totals)

using namespace espalier;
using jobs::MatrixTotals;
using kernels::CsrRows;

namespace {

CsrRows one_row(const std::vector<float>& values) {
  CsrRows rows;
  rows.cols = 100;
  rows.first_row = 3;
  rows.pointers = {0, std::ssize(values)};
  for (std::size_t k = 0; k < values.size(); ++k) {
    rows.indices.push_back(static_cast<std::uint32_t>(7 * k));
  }
  rows.values = values;
  return rows;
}

// The totals of matrices that each hold one row of this rank.
std::vector<MatrixTotals> totals_of(const Comm& world,
                                    const std::vector<std::vector<float>>& matrices) {
  std::vector<MatrixTotals> totals(matrices.size());
  for (std::size_t m = 0; m < matrices.size(); ++m) {
    totals[m].add(one_row(matrices[m]));
  }
  MatrixTotals::join(world, totals);
  return totals;
}

}  // namespace

BOOST_AUTO_TEST_CASE(rows_come_back_as_they_were_put_down) {
  CsrRows iso = one_row({2.5F, 2.5F, 2.5F}), full = one_row({1, -0.0F, 3}), zero = full;
  iso.iso = true;
  iso.values = {2.5F};
  full.cols = zero.cols = 5;
  full.indices = zero.indices = {0, 2, 4};
  zero.values[1] = 0;  // a weight, if an odd one
  for (const CsrRows& piece : {one_row({1, 2, 3}), iso, full, zero, one_row({})}) {
    std::vector<std::byte> bytes;
    jobs::put_rows(bytes, piece);
    std::span<const std::byte> rest = bytes;
    const CsrRows back = jobs::take_rows(rest);
    BOOST_TEST(rest.empty());
    BOOST_CHECK_EQUAL(back.first_row, piece.first_row);
    BOOST_CHECK_EQUAL(back.cols, piece.cols);
    BOOST_CHECK_EQUAL(back.iso, piece.iso);
    BOOST_CHECK(back.pointers == piece.pointers);
    BOOST_CHECK(back.indices == piece.indices);
    BOOST_CHECK(std::memcmp(back.values.data(), piece.values.data(), 4 * piece.values.size()) == 0);
    BOOST_CHECK_EQUAL(back.values.size(), piece.values.size());
  }
  // A full row takes the bytes of its places alone.
  std::vector<std::byte> short_form, long_form;
  jobs::put_rows(short_form, full);
  jobs::put_rows(long_form, zero);
  BOOST_CHECK_EQUAL(short_form.size(), 5 * 8 + 5 * 4U);
  BOOST_CHECK_EQUAL(long_form.size(), 5 * 8 + 2 * 8 + 3 * 8U);
}

BOOST_AUTO_TEST_CASE(equal_values_are_noticed_over_all_ranks) {
  const Comm world(MPI_COMM_WORLD);
  const auto rank = static_cast<float>(world.rank());
  const bool last = world.rank() + 1 == world.ranks();
  const auto totals = totals_of(world, {{4, 4},
                                        {-4},
                                        {rank, rank},
                                        {1, 2},
                                        {},
                                        last ? std::vector<float>{6} : std::vector<float>{},
                                        {0.0F, last ? -0.0F : 0.0F}});
  BOOST_CHECK_EQUAL(totals[0].nnz(), 2 * world.ranks());
  BOOST_CHECK(totals[0].iso() == 4.0F);
  BOOST_CHECK(totals[1].iso() == -4.0F);
  BOOST_CHECK_EQUAL(totals[2].iso().has_value(), world.ranks() == 1);
  BOOST_CHECK(!totals[3].iso());
  BOOST_CHECK_EQUAL(totals[4].nnz(), 0);
  BOOST_CHECK(!totals[4].iso());
  BOOST_CHECK_EQUAL(totals[5].nnz(), 1);
  BOOST_CHECK(totals[5].iso() == 6.0F);
  BOOST_CHECK(!totals[6].iso());
}

BOOST_AUTO_TEST_CASE(values_are_spelled_out_or_kept_once) {
  CsrRows rows = one_row({5, 5, 5});
  jobs::spell_values(rows, 5.0F);
  BOOST_CHECK(rows.iso);
  BOOST_CHECK(rows.values == std::vector<float>{5});
  jobs::spell_values(rows, std::nullopt);
  BOOST_CHECK(!rows.iso);
  BOOST_CHECK(rows.values == (std::vector<float>{5, 5, 5}));
  CsrRows empty = one_row({});
  jobs::spell_values(empty, 5.0F);
  BOOST_CHECK(empty.values == std::vector<float>{5});
  jobs::spell_values(empty, std::nullopt);
  BOOST_CHECK(empty.values.empty());
}

BOOST_AUTO_TEST_SUITE_END()
