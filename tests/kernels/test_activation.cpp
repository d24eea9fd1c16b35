// Activations against double precision over their whole range, on every SIMD target.
#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "kernels/reference.hpp"
#include "kernels/spmm.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

using testing::Floats;
using testing::OnTarget;

// Points in all magnitudes of both signs, denser where the curves bend.
std::vector<float> grid() {
  std::vector<float> points = {0.0F, -0.0F};
  for (float x = 1e-30F; x < 1e30F; x *= 1.37F) points.insert(points.end(), {x, -x});
  for (int i = 0; i <= 40000; ++i) points.push_back(static_cast<float>(i - 20000) * 0.001F);
  for (int i = 0; i <= 4000; ++i) points.push_back(static_cast<float>(i - 2000) * 0.06F);
  while (points.size() % kPanelWidth != 0) points.push_back(1.0F);
  return points;
}

std::vector<float> activated(const std::vector<float>& points, const Epilogue& epilogue) {
  Floats panel(static_cast<std::int64_t>(points.size()));
  std::copy(points.begin(), points.end(), panel.span().begin());
  apply_epilogue(panel.data(), static_cast<std::int64_t>(points.size()) / kPanelWidth, {},
                 epilogue);
  return {panel.span().begin(), panel.span().end()};
}

struct Bound {
  Activation activation;
  double relative;       // of the exact value, with FMA
  double relative_slow;  // without
};

// What the comments in epilogue-inl.hpp promise; results from a denormal exp lose bits.
constexpr std::array kBounds = {
    Bound{Activation::kLeakyRelu, 0x1p-24, 0x1p-24}, Bound{Activation::kElu, 3e-7, 3e-7},
    Bound{Activation::kGelu, 1e-6, 1.2e-5},          Bound{Activation::kSilu, 4e-7, 4e-7},
    Bound{Activation::kSigmoid, 3e-7, 3e-7},         Bound{Activation::kTanh, 4e-7, 4e-7}};

double worst_relative(const std::vector<float>& points, const Epilogue& epilogue) {
  const auto y = activated(points, epilogue);
  double worst = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double exact = reference::activate(static_cast<double>(points[i]), epilogue);
    const double error = std::abs(static_cast<double>(y[i]) - exact);
    const double size = std::max(std::abs(exact), 0x1p-118);
    worst = std::max(worst, std::isnan(error) ? 1.0 : error / size);
  }
  return worst;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_activation)

BOOST_AUTO_TEST_CASE(curves_keep_their_error_bounds) {
  const auto points = grid();
  BOOST_REQUIRE_GT(points.size(), 40000U);
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    for (const Bound& bound : kBounds) {
      Epilogue epilogue;
      epilogue.activation = bound.activation;
      epilogue.alpha = 0.3F;
      const double worst = worst_relative(points, epilogue);
      BOOST_TEST_MESSAGE(target_name()
                         << " activation " << static_cast<int>(bound.activation) << ": " << worst);
      BOOST_CHECK_LE(worst, OnTarget::fuses() ? bound.relative : bound.relative_slow);
    }
  }
}

BOOST_AUTO_TEST_CASE(infinities_reach_their_limits_and_nan_stays) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> points(kPanelWidth, kNan);
  points[0] = kInfinity;
  points[1] = -kInfinity;
  const std::array kLimits = {std::array{kInfinity, -kInfinity},
                              std::array{kInfinity, 0.0F},
                              std::array{kInfinity, -kInfinity},
                              std::array{kInfinity, -0.3F},
                              std::array{kInfinity, 0.0F},
                              std::array{kInfinity, 0.0F},
                              std::array{1.0F, 0.0F},
                              std::array{1.0F, -1.0F}};
  for (const std::int64_t target : testing::single_targets()) {
    const OnTarget guard(target);
    for (std::size_t a = 0; a < kLimits.size(); ++a) {
      for (const bool clamped : {false, true}) {
        Epilogue epilogue;
        epilogue.activation = static_cast<Activation>(a);
        epilogue.alpha = 0.3F;
        epilogue.has_clamp = clamped;
        epilogue.clamp = 32;
        const auto y = activated(points, epilogue);
        BOOST_CHECK_EQUAL(y[0], clamped ? std::min(32.0F, kLimits[a][0]) : kLimits[a][0]);
        BOOST_CHECK_EQUAL(y[1], kLimits[a][1]);
        for (std::size_t i = 2; i < y.size(); ++i)
          BOOST_CHECK_MESSAGE(std::isnan(y[i]), target_name() << " " << a << clamped);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(fused_targets_agree_to_the_bit) {
  const auto points = grid();
  for (const Bound& bound : kBounds) {
    Epilogue epilogue;
    epilogue.activation = bound.activation;
    std::vector<float> first;
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      if (!OnTarget::fuses()) continue;
      const auto y = activated(points, epilogue);
      if (first.empty()) first = y;
      BOOST_CHECK(std::equal(y.begin(), y.end(), first.begin(), [](float a, float b) {
        return testing::bits_of(a) == testing::bits_of(b);
      }));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
