// Plain loops: the oracle that every kernel is compared with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/conv.hpp"
#include "kernels/layout.hpp"

namespace espalier::kernels::reference {

// out = epilogue(rows x in) with double accumulation and double activations.
//   shapes   in (cols x samples) row-major; result (rows x samples)
std::vector<double> spmm(const CsrRows& rows, std::span<const float> bias, const Epilogue& epilogue,
                         std::span<const float> in, std::int64_t samples);

// The plain sums as one chain of std::fma in float32, ascending: equal to the bit to spmm's sums.
std::vector<float> chain(const CsrRows& rows, std::span<const float> in, std::int64_t samples);

// A convolution by plain loops over samples, output channels, places, input channels and taps, in
// double.
//   shapes   weights (out_channels x group_channels x taps), all of them; in (window.inputs() x
//            samples) row-major; result (window.outputs() x samples)
std::vector<double> convolve(const Window& window, std::span<const float> weights,
                             std::span<const float> in, std::int64_t samples);

// The same for pooling; `largest` or else the mean.
std::vector<double> pool(const Window& window, bool largest, std::span<const float> in,
                         std::int64_t samples);

// The activation in double precision; softmax is not elementwise and not offered here.
double activate(double x, const Epilogue& epilogue);

}  // namespace espalier::kernels::reference
