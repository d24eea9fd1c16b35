// What the machine could do at best: the yardsticks of `espalier bench`.
#pragma once

#include <span>

namespace espalier::kernels {

// Bytes a second that one core loads from `data` with full vectors, several loads in flight; the
// median of some passes. Which cache that measures depends on the size of `data` alone.
//   shapes   data: at least 64 floats, 64-byte aligned
//   cost     a dozen passes over data, or over 4 MiB if that is more
double measure_load_bandwidth(std::span<const float> data);

}  // namespace espalier::kernels
