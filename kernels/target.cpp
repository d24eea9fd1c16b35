// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/target.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/target.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

int floats_of_vector() { return static_cast<int>(hn::Lanes(hn::CappedTag<float, 16>())); }

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <hwy/targets.h>

#include <stdexcept>

namespace espalier::kernels {

HWY_EXPORT(floats_of_vector);

namespace {

// The machine's own answer, asked before any restriction hides part of it.
std::int64_t machine_targets() {
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

}  // namespace

std::int64_t supported_targets() { return machine_targets(); }

void restrict_targets(std::int64_t targets) {
  if (targets == 0 || (targets & ~machine_targets()) != 0) {
    throw std::invalid_argument("restricting the kernels to targets " + std::to_string(targets) +
                                ": must be some of the supported " +
                                std::to_string(machine_targets()));
  }
  hwy::SetSupportedTargetsForTest(targets);
}

std::string target_name() {
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(targets & -targets);
}

int vector_floats() { return HWY_DYNAMIC_DISPATCH(floats_of_vector)(); }

}  // namespace espalier::kernels
#endif  // HWY_ONCE
