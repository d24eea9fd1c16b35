// What is done to whole samples after the last layer: softmax, the k largest outputs.
#pragma once

#include <cstdint>
#include <span>

namespace espalier::kernels {

// Turns a sample's outputs into exp(x - max) / sum, sums in double in ascending output order.
void softmax(std::span<float> outputs);

// The k largest outputs, largest first; among equals the lower index first.
//   shapes   index and value (k each), k <= outputs
//   cost     O(outputs log k)
void top_k(std::span<const float> outputs, std::span<std::int64_t> index, std::span<float> value);

}  // namespace espalier::kernels
