// Plain loops: the oracle that every kernel is compared with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/layout.hpp"

namespace espalier::kernels::reference {

// out = epilogue(rows x in) with double accumulation and double activations.
//   shapes   in (cols x samples) row-major; result (rows x samples)
std::vector<double> spmm(const CsrRows& rows, std::span<const float> bias, const Epilogue& epilogue,
                         std::span<const float> in, std::int64_t samples);

// The plain sums as one chain of std::fma in float32, ascending: equal to the bit to spmm's sums.
std::vector<float> chain(const CsrRows& rows, std::span<const float> in, std::int64_t samples);

// The activation in double precision; softmax is not elementwise and not offered here.
double activate(double x, const Epilogue& epilogue);

}  // namespace espalier::kernels::reference
