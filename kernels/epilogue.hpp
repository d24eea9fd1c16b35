// What the SIMD code needs to know of an epilogue: plain data, no functions, because it is read by
// code compiled for many targets.
#pragma once

#include <cstdint>

namespace espalier::kernels {

// No activation, but rows have to be gone over once more.
inline constexpr int kOnlyRounds = -1;

// y = min(upper, max(lower, x)) covers identity, softmax's plain sums, ReLU and clamp; the other
// activations run first and keep lower = -inf.
struct EpilogueArgs {
  const float* bias = nullptr;
  std::int64_t bias_step = 0;  // 0: one value for all rows
  float lower = 0;
  float upper = 0;
  float alpha = 0;
  int curve = 0;  // 0, or the Activation that is computed value by value, or kOnlyRounds
  bool bias_where_nonzero = false;
  bool is_relu = false;
  bool rounds = false;  // outputs to bfloat16; `curve` is not 0 then
};

}  // namespace espalier::kernels
