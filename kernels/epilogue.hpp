// What the SIMD code needs to know of an epilogue: plain data, no functions, because it is read by
// code compiled for many targets.
#pragma once

#include <cstdint>

namespace espalier::kernels {

// y = min(upper, max(lower, x)) covers identity, softmax's plain sums, ReLU and clamp; the other
// activations run first and keep lower = -inf.
struct EpilogueArgs {
  const float* bias = nullptr;
  std::int64_t bias_step = 0;  // 0: one value for all rows
  float lower = 0;
  float upper = 0;
  float alpha = 0;
  int curve = 0;  // 0, or the Activation that is computed value by value
  bool bias_where_nonzero = false;
  bool is_relu = false;
};

}  // namespace espalier::kernels
