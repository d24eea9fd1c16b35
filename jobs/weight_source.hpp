// Weights with the keys that decide which of them stay, read piece by piece.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "framework/memory.hpp"
#include "framework/shard.hpp"
#include "io/layer_reader.hpp"
#include "kernels/layout.hpp"
#include "kernels/select.hpp"

namespace espalier::jobs {

// Rows and a key for each of their weights; none if the magnitudes are the keys.
struct KeyedRows {
  kernels::CsrRows rows;
  std::vector<std::uint32_t> keys;

  std::uint32_t key(std::int64_t k) const {
    return keys.empty() ? kernels::magnitude_key(rows.value(k)) : keys[static_cast<std::size_t>(k)];
  }
};

// The same where it lies; borrowed.
struct KeyedView {
  KeyedView() = default;
  KeyedView(const KeyedRows& of)  // NOLINT: a view is what functions take
      : first_row(of.rows.first_row),
        cols(of.rows.cols),
        iso(of.rows.iso),
        pointers(of.rows.pointers),
        indices(of.rows.indices),
        values(of.rows.values),
        keys(of.keys) {}

  std::int64_t first_row = 0, cols = 0;
  bool iso = false;
  std::span<const std::int64_t> pointers;
  std::span<const std::uint32_t> indices;
  std::span<const float> values;
  std::span<const std::uint32_t> keys;

  std::int64_t nnz() const noexcept { return pointers.empty() ? 0 : pointers.back(); }
  float value(std::int64_t k) const { return values[static_cast<std::size_t>(iso ? 0 : k)]; }
  std::uint32_t key(std::int64_t k) const {
    return keys.empty() ? kernels::magnitude_key(value(k)) : keys[static_cast<std::size_t>(k)];
  }
};

// The keys of rows of a layer without stored zeros, where they are not the magnitudes.
using KeyRule =
    std::function<std::vector<std::uint32_t>(std::int64_t layer, const kernels::CsrRows& rows)>;

// Borrows the reader. Zeros are never among the weights. Local.
//   throws   Error as io::LayerReader, also for weights that are not finite
class WeightSource {
 public:
  // `rule` may be empty: then magnitudes decide, and dense layers are read without detours.
  WeightSource(const io::LayerReader& reader, KeyRule rule);

  // Adds to counts[d] how many weights have a key with the upper digit d.
  void count(std::int64_t layer, Range rows, std::span<std::int64_t> counts);
  // Puts the weights whose key is >= least into `found`.
  //   returns  the sum of squares of the others
  double collect(std::int64_t layer, Range rows, std::uint32_t least, KeyedRows& found);

 private:
  bool is_dense(std::int64_t layer) const;
  std::span<const float> read_dense(std::int64_t layer, Range elements);
  void count_dense(std::int64_t layer, Range rows, std::span<std::int64_t> counts);
  double collect_dense(std::int64_t layer, Range rows, std::uint32_t least,
                       kernels::CsrRows& found);
  void complain(std::int64_t layer, Range elements) const;
  KeyedRows read_keyed(std::int64_t layer, Range rows) const;

  const io::LayerReader& reader_;
  KeyRule rule_;
  // One stretch of a dense layer, and what is found in it.
  AlignedBuffer<float> stretch_, values_;
  AlignedBuffer<std::uint32_t> indices_;
};

}  // namespace espalier::jobs
