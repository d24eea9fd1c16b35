#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "kernels/dense.hpp"
#include "kernels/reconstruct.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

struct Values {
  Values(std::int64_t rows_of, std::int64_t cols_of)
      : rows(rows_of), cols(cols_of), all(static_cast<std::size_t>(rows_of * cols_of)) {}
  std::int64_t rows, cols;
  std::vector<double> all;
  double& at(std::int64_t i, std::int64_t j) { return all[static_cast<std::size_t>(i * cols + j)]; }
  DenseView view() { return {all.data(), rows, cols, cols}; }
};

Values random_values(testing::Random& random, std::int64_t rows, std::int64_t cols) {
  Values values(rows, cols);
  for (double& value : values.all) value = 2 * random.unit() - 1;
  return values;
}

// Positive definite, of n inputs that depend on each other.
Values gram_of(testing::Random& random, std::int64_t n) {
  Values x = random_values(random, n, n + 5);
  for (std::int64_t i = 1; i < n; ++i) {
    for (std::int64_t s = 0; s < x.cols; ++s) x.at(i, s) += 0.7 * x.at(i - 1, s);
  }
  Values gram(n, n);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t s = 0; s < x.cols; ++s) gram.at(i, j) += x.at(i, s) * x.at(j, s);
    }
    gram.at(i, i) += 0.1;
  }
  return gram;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_dense)

BOOST_AUTO_TEST_CASE(products_are_chains_of_fused_multiply_adds) {
  testing::Random random(1);
  const std::int64_t all = supported_targets();
  for (const std::int64_t target : testing::single_targets()) {
    restrict_targets(target);
    const std::string name = target_name();
    const bool fused = name.rfind("AVX", 0) == 0;
    for (const auto& [m, k, n] : {std::array<std::int64_t, 3>{1, 1, 1},
                                  {3, 130, 25},
                                  {9, 7, 12},
                                  {4, 257, 24},
                                  {13, 64, 50},
                                  {2, 0, 5}}) {
      Values a = random_values(random, m, k), b = random_values(random, k, n);
      Values c = random_values(random, m, n), more = c, less = c;
      add_product(as_const(a.view()), as_const(b.view()), more.view());
      subtract_product(as_const(a.view()), as_const(b.view()), less.view());
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          double up = c.at(i, j), down = up;
          for (std::int64_t l = 0; l < k; ++l) {
            up = std::fma(a.at(i, l), b.at(l, j), up);
            down = std::fma(-a.at(i, l), b.at(l, j), down);
          }
          const double slack = fused ? 0 : 1e-13 * static_cast<double>(k);
          BOOST_TEST(std::abs(more.at(i, j) - up) <= slack);
          BOOST_TEST(std::abs(less.at(i, j) - down) <= slack);
        }
      }
      // One row of the product, by its own kernel.
      if (m > 0 && k > 0) {
        std::vector<double> sums(c.all.begin(), c.all.begin() + n);
        add_rows(as_const(b.view()), std::span(a.all).first(static_cast<std::size_t>(k)),
                 sums.data());
        for (std::int64_t j = 0; j < n; ++j) {
          BOOST_TEST(sums[static_cast<std::size_t>(j)] == more.at(0, j));
        }
      }
    }
  }
  restrict_targets(all);
}

BOOST_AUTO_TEST_CASE(the_factor_is_upper_and_inverts) {
  testing::Random random(2);
  for (const std::int64_t n : {1, 2, 5, 63, 64, 65, 130, 200}) {
    Values gram = gram_of(random, n), factor = gram;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = i + 1; j < n; ++j) factor.at(i, j) = 1e300;  // not read
    }
    BOOST_TEST(invert_to_upper_factor(factor.view(), [] {}));
    double off = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      BOOST_TEST(factor.at(i, i) > 0);
      for (std::int64_t j = 0; j < i; ++j) BOOST_TEST(factor.at(i, j) == 0);
    }
    // U^T U G is the unit matrix: U G first, then U^T times it.
    Values product(n, n), unit(n, n), turned(n, n);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j) turned.at(j, i) = factor.at(i, j);
    }
    add_product(as_const(factor.view()), as_const(gram.view()), product.view());
    add_product(as_const(turned.view()), as_const(product.view()), unit.view());
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        off = std::max(off, std::abs(unit.at(i, j) - (i == j ? 1 : 0)));
      }
    }
    BOOST_TEST(off < 1e-8, n << ": " << off);
  }
  Values indefinite(2, 2);
  indefinite.all = {1, 2, 2, 1};
  BOOST_TEST(!invert_to_upper_factor(indefinite.view(), [] {}));
}

// At the least, no kept weight can be moved to advantage: its residual is zero.
BOOST_AUTO_TEST_CASE(refined_rows_leave_no_residual_where_weights_stay) {
  testing::Random random(3);
  constexpr std::int64_t n = 40;
  Values gram = gram_of(random, n), row = random_values(random, 1, n);
  std::vector<std::uint32_t> columns;
  std::vector<double> values, residual;
  Values image(1, n);
  for (std::int64_t j = 0; j < n; j += 3) {
    columns.push_back(static_cast<std::uint32_t>(j));
    values.push_back(row.at(0, j));
  }
  const auto residual_of = [&](const std::vector<double>& of) {
    Values left = row, image_of(1, n);
    for (std::size_t i = 0; i < columns.size(); ++i) left.at(0, columns[i]) -= of[i];
    add_product(as_const(left.view()), as_const(gram.view()), image_of.view());
    std::vector<double> found;
    for (const std::uint32_t column : columns) found.push_back(image_of.at(0, column));
    return found;
  };
  residual = residual_of(values);
  LeastSquaresRoom room;
  refine_row(as_const(gram.view()), columns, residual, values, room);
  const auto size = [](const std::vector<double>& of) {
    double most = 0;
    for (const double value : of) most = std::max(most, std::abs(value));
    return most;
  };
  BOOST_TEST(size(residual) > 0.1);
  BOOST_TEST(size(residual_of(values)) < 1e-3 * size(residual));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
