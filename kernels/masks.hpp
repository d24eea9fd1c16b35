// Which weights of given rows stay: the rules that need no look at other rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/layout.hpp"
#include "kernels/select.hpp"

namespace espalier::kernels {

// How many of `positions` (rows x cols, whether stored or not) stay at `sparsity` in [0, 1]:
// positions - floor(sparsity * positions + 0.5), in double precision.
std::int64_t kept_of(std::int64_t positions, double sparsity);

// A layer's sizes and how many of its weights stay.
struct LayerShape {
  std::int64_t rows = 0, cols = 0;
};
// Densities proportional to (rows + cols) / (rows * cols), each at most 1, that keep `density` of
// all positions together (as near as the limit 1 lets them).
//   source   Mocanu et al. 2018 (Erdos-Renyi); the limit as in Evci et al., RigL, 2020
std::vector<double> erk_densities(std::span<const LayerShape> layers, double density);

// The key of each stored value; an iso matrix has one key for each as well.
std::vector<std::uint32_t> magnitude_keys(const CsrRows& rows);

// Takes entries of rows away, in order.
class RowFilter {
 public:
  // Keeps those entries k of `rows` for which keep(k) holds; iso rows stay iso.
  template <typename Keep>
  static void apply(CsrRows& rows, Keep&& keep);
};

// Leaves out stored zeros.
void drop_zeros(CsrRows& rows);
// Keeps the weights with |w| >= least.
void keep_from(CsrRows& rows, double least);
// Keeps weights with a key above cut.key, and the first cut.equals of those equal to it.
//   shapes   keys (nnz)
void keep_above(CsrRows& rows, std::span<const std::uint32_t> keys, Cut cut);
// Keeps the `keep` largest keys of every row, the lower column first among equals; all of a row
// that has fewer.
void keep_per_row(CsrRows& rows, std::span<const std::uint32_t> keys, std::int64_t keep);
// Keeps the n weights of largest magnitude in each group of m consecutive inputs (the last group of
// a row may be shorter), the lower column first among equals. 1 <= n <= m.
void keep_n_of_m(CsrRows& rows, std::int64_t n, std::int64_t m);
// Keeps the weights that have a non-zero entry in `mask`, which has the same rows.
void keep_where(CsrRows& rows, const CsrRows& mask);
// The value in `scores` of each weight of `rows`, 0 where none is stored.
std::vector<float> values_at(const CsrRows& rows, const CsrRows& scores);

template <typename Keep>
void RowFilter::apply(CsrRows& rows, Keep&& keep) {
  std::size_t to = 0;
  std::int64_t k = 0;
  for (std::size_t row = 1; row < rows.pointers.size(); ++row) {
    for (; k < rows.pointers[row]; ++k) {
      if (keep(k)) {
        const auto from = static_cast<std::size_t>(k);
        rows.indices[to] = rows.indices[from];
        if (!rows.iso) rows.values[to] = rows.values[from];
        ++to;
      }
    }
    rows.pointers[row] = static_cast<std::int64_t>(to);
  }
  rows.indices.resize(to);
  if (!rows.iso) rows.values.resize(to);
}

}  // namespace espalier::kernels
