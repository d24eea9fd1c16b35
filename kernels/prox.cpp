#include "kernels/prox.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/masks.hpp"

namespace espalier::kernels {
namespace {

double cut_of(Penalty penalty, double t) {
  switch (penalty) {
    case Penalty::kL0:
      return std::sqrt(2 * t);
    case Penalty::kL12:
      return std::cbrt(54.0) / 4 * std::pow(t, 2.0 / 3);
    case Penalty::kL23:
      return std::pow(48.0, 0.25) / 3 * std::pow(t, 0.75);
    case Penalty::kL1:
      break;
  }
  return t;
}

double parameter_for(Penalty penalty, double cut) {
  switch (penalty) {
    case Penalty::kL0:
      return cut * cut / 2;
    case Penalty::kL12:
      return std::pow(4 * cut / std::cbrt(54.0), 1.5);
    case Penalty::kL23:
      return std::pow(3 * cut / std::pow(48.0, 0.25), 4.0 / 3);
    case Penalty::kL1:
      break;
  }
  return cut;
}

// The stationary point of (x - w)^2 + t sqrt(x) that is its minimum, by the cubic's cosine form.
double half_step(double w, double t) {
  const double ratio = std::min(1.0, t / 8 * std::pow(w / 3, -1.5));
  return 2 * w / 3 * (1 + std::cos(2 * std::numbers::pi / 3 - 2 * std::acos(ratio) / 3));
}

// The same for (x - w)^2 + t x^(2/3), by the quartic's hyperbolic form.
double two_thirds_step(double w, double t) {
  if (t == 0) return w;
  const double angle = std::acosh(std::max(1.0, 27 * w * w / 16 * std::pow(t, -1.5)));
  const double a = 2 / std::sqrt(3.0) * std::pow(t, 0.25) * std::sqrt(std::cosh(angle / 3));
  const double root = (a + std::sqrt(std::max(0.0, 2 * w / a - a * a))) / 2;
  return root * root * root;
}

}  // namespace

ProximalStep::ProximalStep(Penalty penalty, double t)
    : ProximalStep(penalty, t, cut_of(penalty, t)) {}

ProximalStep ProximalStep::with_cut(Penalty penalty, double cut) {
  return {penalty, parameter_for(penalty, cut), cut};
}

float ProximalStep::operator()(float weight) const {
  const double w = std::abs(static_cast<double>(weight));
  if (w == 0 || w <= cut_) return 0;
  double left = w;
  if (penalty_ == Penalty::kL1) left = w - t_;
  if (penalty_ == Penalty::kL12) left = half_step(w, t_);
  if (penalty_ == Penalty::kL23) left = two_thirds_step(w, t_);
  const auto least = static_cast<double>(std::numeric_limits<float>::denorm_min());
  return std::copysign(static_cast<float>(std::max(left, least)), weight);
}

void apply_step(CsrRows& rows, const ProximalStep& step) {
  for (float& value : rows.values) {
    value = step(value);
  }
  drop_zeros(rows);
}

}  // namespace espalier::kernels
