// Which SIMD instructions the kernels use, chosen at run time.
#pragma once

#include <cstdint>
#include <string>

namespace espalier::kernels {

// The targets this machine can run, as bits in Highway's numbering (smaller bit = better target).
std::int64_t supported_targets();
// Restricts the kernels to `targets` (a subset of supported ones): ranks on unlike machines agree
// on the common ones so that they compute the same bits.
void restrict_targets(std::int64_t targets);
// "AVX3", "AVX2", "SSE4" …: what the kernels run on now.
std::string target_name();

// Floats that one vector of the kernels holds on the target in use, at most 16: what is best packed
// depends on it, what comes out does not.
int vector_floats();

// Whether the target in use multiplies pairs of bfloat16 numbers and adds the products one after
// the other, as AVX-512 BF16 does: asked of the processor, and tried.
//   exact    then sums are those of float32 multiply-adds, unless something is denormal
bool multiplies_bfloat16_pairs();

}  // namespace espalier::kernels
