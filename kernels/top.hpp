// The largest outputs of samples whose outputs pass by a few rows at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/layout.hpp"
#include "kernels/samples.hpp"

namespace espalier::kernels {

// The k best rows so far of the columns of one panel, in the order of top_k.
class TopPanel {
 public:
  // Of the first `samples` columns.
  TopPanel(std::int64_t k, std::int64_t samples);

  // Takes the rows `first`, `first` + 1, … into account.
  //   shapes   rows (count x kPanelWidth), 64-byte aligned
  //   pre      first is beyond every row taken before: among equals the earlier one stays
  //   cost     one comparison a number, and O(log k) for each that is better than the k best so far
  void add(const float* rows, std::int64_t count, std::int64_t first);

  // The best rows of a column in no order: k, or all if fewer were taken.
  std::span<const Ranked> best(std::int64_t column) const;

 private:
  void offer(std::int64_t column, const Ranked& candidate);

  std::int64_t k_, samples_;
  std::vector<std::vector<Ranked>> best_;  // by column: a heap whose top is the weakest
  // By column: what is not larger is no candidate. NaN: everything is.
  alignas(64) float limits_[kPanelWidth];
};

// The best of several lists, such as those of parts of the rows, largest first.
//   shapes   index and value (k each), k <= candidates, which are left in another order
//   cost     O(candidates log k)
void best_of(std::span<Ranked> candidates, std::span<std::int64_t> index, std::span<float> value);

}  // namespace espalier::kernels
