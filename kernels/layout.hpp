// The shapes in memory: sparse rows as they come from a file, packed rows, panels of activations.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace espalier::kernels {

// Samples of one panel: a panel holds (neurons x kPanelWidth) float32, a neuron's samples
// consecutive, 64-byte aligned. The width has no influence on results.
inline constexpr int kPanelWidth = 64;

// Rows of a layer's weights in CSR with global input indices, as read from a file. Owns.
//   shapes   pointers (rows + 1) from 0 to nnz; indices (nnz), strictly ascending in each row;
//            values (nnz), or one value for all when iso
struct CsrRows {
  std::int64_t first_row = 0;  // the global row of row 0 here
  std::int64_t cols = 0;
  std::vector<std::int64_t> pointers = {0};
  std::vector<std::uint32_t> indices;
  std::vector<float> values;
  bool iso = false;

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(pointers.size()) - 1; }
  std::int64_t nnz() const noexcept { return pointers.back(); }
  float value(std::int64_t k) const noexcept {
    return values[static_cast<std::size_t>(iso ? 0 : k)];
  }
};

// The first thing wrong with rows of CSR.
struct CsrFault {
  enum class Kind { kPointersDescend, kColumnRange, kColumnOrder, kDuplicate, kNotFinite };
  Kind kind;
  std::int64_t row;     // global
  std::int64_t column;  // global; meaningless for kPointersDescend
};

// Looks for the first fault in row order; nullopt-like: returns false if the rows are sound.
//   cost     one pass
bool find_fault(const CsrRows& rows, CsrFault& fault);

enum class Activation {
  kIdentity,
  kRelu,
  kLeakyRelu,  // alpha: slope below zero
  kElu,        // alpha (exp(x) - 1) below zero
  kGelu,       // x Phi(x), exact form by erf
  kSilu,
  kSigmoid,
  kTanh,
  kSoftmax,  // over all outputs of a sample; last layer only
};

// What happens to a sum before it is stored: y = clamp(act(sum + bias)).
struct Epilogue {
  Activation activation = Activation::kIdentity;
  float alpha = 0.01F;  // of leaky ReLU and ELU
  bool has_clamp = false;
  float clamp = 0;                  // upper limit after the activation
  bool bias_where_nonzero = false;  // add the bias only where the sum is not zero (GraphChallenge)
};

}  // namespace espalier::kernels
