// The topology of the GraphChallenge networks (RadiX-Net), any power-of-two size.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/shard.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

inline constexpr int kRadixFan = 32;              // inputs and outputs of every neuron
inline constexpr float kRadixWeight = 1.0F / 16;  // of all connections

// Layers come in groups of log2(N/16); in the k-th layer of a group, input i feeds outputs j with
// j = i or j = i - 2^k (mod N/16). Every group but the first permutes its inputs, one random
// permutation (of seed and group) for all its layers.
class RadixNet {
 public:
  //   throws   Error(kUsage) unless neurons is a power of two >= 32 and below 2^32
  RadixNet(std::int64_t neurons, std::uint64_t seed);
  // Rows (outputs) of one layer, weights 1/16 (iso).
  //   cost     O(rows), plus O(N) when the layer begins a new group
  kernels::CsrRows rows(std::int64_t layer, Range outputs);

 private:
  void prepare_group(std::int64_t group);
  std::int64_t neurons_;
  int group_layers_;
  std::uint64_t seed_;
  std::int64_t group_ = -1;
  // The plain pattern knows inputs by their remainder modulo N/16, 16 to each; here, remainder by
  // remainder, is where these inputs went, ascending.
  std::vector<std::uint32_t> places_;
};

}  // namespace espalier::jobs
