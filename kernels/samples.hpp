// What is done to whole samples after the last layer: softmax, the k largest outputs.
#pragma once

#include <cstdint>
#include <span>

namespace espalier::kernels {

// Turns a sample's outputs into exp(x - max) / sum, sums in double in ascending output order.
void softmax(std::span<float> outputs);

// An output and its place.
struct Ranked {
  float value;
  std::int64_t index;
};

// The order of top_k: a number before any NaN, the larger before the smaller (-0 equals +0), the
// lower index first among equals.
bool ranks_before(const Ranked& a, const Ranked& b) noexcept;

// The k largest outputs, largest first; among equals the lower index first.
//   shapes   index and value (k each), k <= outputs
//   cost     O(outputs log k)
void top_k(std::span<const float> outputs, std::span<std::int64_t> index, std::span<float> value);

}  // namespace espalier::kernels
