// What the machine could do at best: the yardsticks of `espalier bench`.
#pragma once

#include <span>

namespace espalier::kernels {

// Multiply-adds a second that one core reaches with everything in registers; measured anew at
// each call, about 20 ms.
double measure_fma_peak();

// Bytes a second that one core loads from `data` with full vectors, several loads in flight; the
// median of some passes. Which cache that measures depends on the size of `data` alone.
//   shapes   data: at least 128 floats, 64-byte aligned
//   cost     a dozen passes over data, or over 4 MiB if that is more
double measure_load_bandwidth(std::span<const float> data);

// Multiply-adds a second of one core where each loads an activation of its own from `data`, as
// those of rows do that share no inputs: eight chains on one weight, nothing else. The peak, where
// the core loads as often as it multiplies.
//   shapes   data: at least 128 floats, 64-byte aligned; to be measured in the first-level cache,
//            at most half of it
//   cost     20 ms
double measure_loading_fma_peak(std::span<const float> data);

}  // namespace espalier::kernels
