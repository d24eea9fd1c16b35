#include <boost/test/unit_test.hpp>
#include <cmath>

#include "kernels/prox.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

struct Form {
  Penalty penalty;
  double power;
  double quadratic;  // factor of (x - w)^2
};
constexpr Form kForms[] = {{Penalty::kL0, 0, 0.5},
                           {Penalty::kL12, 0.5, 1},
                           {Penalty::kL23, 2.0 / 3, 1},
                           {Penalty::kL1, 1, 0.5}};

double objective(const Form& form, double x, double w, double t) {
  const double size = form.power == 0 ? (x != 0 ? 1.0 : 0.0) : std::pow(std::abs(x), form.power);
  return form.quadratic * (x - w) * (x - w) + t * size;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_prox)

// No point of a fine grid is better than the step's, up to rounding.
BOOST_AUTO_TEST_CASE(steps_minimise_their_objective) {
  testing::Random random(1);
  for (const Form& form : kForms) {
    for (int number = 0; number < 100; ++number) {
      const float weight = 3 * random.symmetric();
      const auto w = static_cast<double>(weight);
      const double t = 1.5 * random.unit();
      const auto x = static_cast<double>(ProximalStep(form.penalty, t)(weight));
      double best = objective(form, 0, w, t);
      for (int i = -3000; i <= 3000; ++i) {
        best = std::min(best, objective(form, 0.001 * i, w, t));
      }
      BOOST_TEST(objective(form, x, w, t) <= best + 1e-6);
      BOOST_TEST(x * w >= 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(cuts_are_where_weights_vanish) {
  for (const Form& form : kForms) {
    const ProximalStep step = ProximalStep::with_cut(form.penalty, 0.5);
    BOOST_TEST(ProximalStep(form.penalty, step.t()).cut() == 0.5,
               boost::test_tools::tolerance(1e-12));
    BOOST_TEST(step(0.5F) == 0.0F);
    BOOST_TEST(step(-0.5F) == 0.0F);
    BOOST_TEST(step(std::nextafter(0.5F, 1.0F)) > 0.0F);
    BOOST_TEST(step(std::nextafter(-0.5F, -1.0F)) < 0.0F);
    BOOST_TEST(step(0.0F) == 0.0F);
  }
}

BOOST_AUTO_TEST_CASE(no_penalty_changes_nothing) {
  for (const Form& form : kForms) {
    const ProximalStep step(form.penalty, 0);
    BOOST_TEST(step(0.75F) == 0.75F);
    BOOST_TEST(step(-1e-30F) == -1e-30F);
  }
}

BOOST_AUTO_TEST_CASE(rows_lose_what_becomes_zero) {
  CsrRows rows;
  rows.cols = 3;
  rows.pointers = {0, 2, 3};
  rows.indices = {0, 2, 1};
  rows.values = {0.25F, -1.0F, 0.5F};
  apply_step(rows, ProximalStep(Penalty::kL1, 0.25));
  BOOST_TEST(rows.pointers == (std::vector<std::int64_t>{0, 1, 2}),
             boost::test_tools::per_element());
  BOOST_TEST(rows.values == (std::vector<float>{-0.75F, 0.25F}), boost::test_tools::per_element());
  CsrRows iso;
  iso.cols = 3;
  iso.pointers = {0, 2};
  iso.indices = {0, 2};
  iso.values = {0.25F};
  iso.iso = true;
  apply_step(iso, ProximalStep(Penalty::kL0, 1));
  BOOST_TEST(iso.nnz() == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
