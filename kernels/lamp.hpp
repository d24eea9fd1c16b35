// LAMP scores compared over layers from counts alone, without sorting or gathering weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/select.hpp"

namespace espalier::kernels {

// The score of a weight is w^2 over the sum of squares of the weights of its layer that are not
// smaller. Within a layer it grows with the magnitude, so a cut through the scores is a cut through
// the magnitudes of each layer.
//   source   Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", 2021

// The weights of one layer within a range of keys, counted in cells of 2^shift keys. A cell lies
// within one exponent, so that its sum of squares is an integer in two parts.
class LampTally {
 public:
  LampTally(std::uint32_t low, std::uint32_t high, unsigned shift);
  // Adds `times` weights with this magnitude key, if it lies in the range.
  void add(std::uint32_t key, std::int64_t times = 1);
  // Sums of the same tally on several ranks are added as they are; up to 2^38 weights in all.
  std::span<std::int64_t> sums() noexcept { return sums_; }

 private:
  friend class LampSelect;
  std::uint32_t base_, high_;
  unsigned shift_;
  std::vector<std::int64_t> sums_;  // by cell: weights, and the two parts of their squares
};

// Narrows down which weights have the `keep` highest scores of all layers together.
// Life: while not settled { for each layer: tally, count its weights, take; narrow }.
//   where    pure; the same sums on every rank give the same cuts
//   cost     three rounds as a rule; memory for the cells in question, not for weights
//   exact    scores are doubles, sums of squares taken from the largest weight down, rounded once
//            for each cell
class LampSelect {
 public:
  LampSelect(std::size_t layers, std::int64_t keep);

  bool settled() const noexcept { return settled_; }
  LampTally tally(std::size_t layer) const;
  void take(std::size_t layer, const LampTally& tally);
  void narrow();
  // From which key on the weights of a layer may stay, and from which on they do.
  std::uint32_t least(std::size_t layer) const;
  std::uint32_t above(std::size_t layer) const;
  // Once settled: layers share `equals`, in order.
  Cut cut(std::size_t layer) const;

 private:
  struct Cell {
    std::uint32_t low, high;  // first and last key
    std::int64_t count;
    double squares;          // of its weights
    double least, greatest;  // what its scores lie between
  };
  struct Layer {
    std::uint32_t low = 2, high = 0xFFFFFFFFU;  // keys in question; none if low > high
    std::uint64_t stays_from = UINT64_C(1) << 32;
    double squares_above = 0;  // of weights beyond the keys in question
    unsigned shift = 16;
    std::vector<Cell> cells;  // from the largest down
  };
  double reached(double Cell::*bound) const;
  void close(Layer& layer, double from, double to);
  void settle();

  std::vector<Layer> layers_;
  std::int64_t keep_;  // of those in question
  bool settled_ = false;
  std::int64_t equals_ = 0;
};

}  // namespace espalier::kernels
