// Proximal steps: what remains of one weight under a penalty on its size.
#pragma once

#include "kernels/layout.hpp"

namespace espalier::kernels {

// The penalty t |x|^p with p = 0, 1/2, 2/3 or 1.
enum class Penalty { kL0, kL12, kL23, kL1 };

// The step of one penalty with one parameter t >= 0, in double precision.
//   L1    sign(w) max(|w| - t, 0)                    least of (x - w)^2 / 2 + t |x|
//   L0    w where |w| > sqrt(2 t), else 0            least of (x - w)^2 / 2 + t [x != 0]
//   L1/2  0 where |w| <= 54^(1/3)/4 t^(2/3)          least of (x - w)^2 + t |x|^(1/2)
//   L2/3  0 where |w| <= 48^(1/4)/3 t^(3/4)          least of (x - w)^2 + t |x|^(2/3)
//   source   Xu et al. 2012 (L1/2); Cao et al. 2013 (L2/3)
class ProximalStep {
 public:
  ProximalStep(Penalty penalty, double t);
  // The step that takes away just the magnitudes up to `cut`.
  static ProximalStep with_cut(Penalty penalty, double cut);

  double t() const noexcept { return t_; }
  double cut() const noexcept { return cut_; }  // magnitudes up to here become 0
  // Keeps the sign. Magnitudes above cut() never become 0.
  float operator()(float weight) const;

 private:
  ProximalStep(Penalty penalty, double t, double cut) : penalty_(penalty), t_(t), cut_(cut) {}

  Penalty penalty_;
  double t_, cut_;
};

// Applies the step to every weight and leaves out those that become 0.
void apply_step(CsrRows& rows, const ProximalStep& step);

}  // namespace espalier::kernels
