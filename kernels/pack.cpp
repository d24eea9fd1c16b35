#include "kernels/pack.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/spmm.hpp"

namespace espalier::kernels {
namespace {

constexpr std::int64_t kNarrowInputs = 65536;
constexpr std::uint32_t kUnused = std::numeric_limits<std::uint32_t>::max();

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Position in `inputs` by global index; kUnused where the list does not hold it.
std::vector<std::uint32_t> positions(std::int64_t cols, std::span<const std::uint32_t> inputs) {
  std::vector<std::uint32_t> position(at(cols), kUnused);
  for (std::size_t l = 0; l < inputs.size(); ++l) {
    if (inputs[l] < position.size()) position[inputs[l]] = static_cast<std::uint32_t>(l);
  }
  return position;
}

[[noreturn]] void throw_missing(const CsrRows& rows, std::int64_t row, std::uint32_t column) {
  throw std::out_of_range("packing row " + std::to_string(rows.first_row + row) + ": input " +
                          std::to_string(column) + " of " + std::to_string(rows.cols) +
                          " is not in the list of inputs");
}

}  // namespace

std::vector<std::uint32_t> used_inputs(const CsrRows& rows) {
  std::vector<std::uint64_t> seen(at(rows.cols + 63) / 64, 0);
  for (const std::uint32_t column : rows.indices) {
    seen[column / 64] |= std::uint64_t{1} << (column % 64);
  }
  std::vector<std::uint32_t> used;
  for (std::size_t word = 0; word < seen.size(); ++word) {
    for (std::uint64_t bits = seen[word]; bits != 0; bits &= bits - 1) {
      used.push_back(static_cast<std::uint32_t>(word * 64) +
                     static_cast<std::uint32_t>(std::countr_zero(bits)));
    }
  }
  return used;
}

std::int64_t PackedLayer::bytes() const noexcept {
  return static_cast<std::int64_t>(
      pointers_.size() * sizeof(pointers_[0]) + narrow_.size() * sizeof(narrow_[0]) +
      wide_.size() * sizeof(wide_[0]) + values_.size() * sizeof(values_[0]) +
      bias_.size() * sizeof(bias_[0]));
}

PackedLayer pack_layer(const CsrRows& rows, std::span<const std::uint32_t> inputs,
                       std::span<const float> bias, const Epilogue& epilogue) {
  const auto position = positions(rows.cols, inputs);
  PackedLayer packed;
  packed.inputs_ = static_cast<std::int64_t>(inputs.size());
  packed.iso_ = rows.iso;
  packed.epilogue_ = epilogue;
  packed.bias_.assign(bias.begin(), bias.end());
  const bool narrow = packed.inputs_ <= kNarrowInputs;
  packed.pointers_.reserve(at(rows.rows() + 1));
  packed.narrow_.reserve(narrow ? at(rows.nnz()) : 0);
  packed.wide_.reserve(narrow ? 0 : at(rows.nnz()));
  packed.values_.reserve(rows.iso ? 1 : at(rows.nnz()));
  if (rows.iso && rows.nnz() > 0) packed.values_.push_back(rows.value(0));
  std::int64_t count = 0;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t k = rows.pointers[at(row)]; k < rows.pointers[at(row + 1)]; ++k) {
      const float value = rows.value(k);
      if (value == 0) continue;
      const std::uint32_t column = rows.indices[at(k)];
      const std::uint32_t local = column < position.size() ? position[column] : kUnused;
      if (local == kUnused) throw_missing(rows, row, column);
      if (narrow) packed.narrow_.push_back(static_cast<std::uint16_t>(local));
      if (!narrow) packed.wide_.push_back(local);
      if (!rows.iso) packed.values_.push_back(value);
      ++count;
    }
    packed.pointers_.push_back(count);
  }
  return packed;
}

bool maps_zero_to_zero(const PackedLayer& layer) {
  if (layer.epilogue().activation == Activation::kSoftmax) return false;
  constexpr std::int64_t kRowsAtOnce = 16;
  alignas(64) std::array<float, kRowsAtOnce * kPanelWidth> panel;
  const auto bias = layer.bias();
  // One value for all rows, or none: every row answers the same.
  const std::int64_t rows =
      bias.size() > 1 ? layer.rows() : std::min<std::int64_t>(layer.rows(), 1);
  for (std::int64_t row = 0; row < rows; row += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows - row);
    panel.fill(0);
    const auto part = bias.size() > 1 ? bias.subspan(at(row), at(count)) : bias;
    apply_epilogue(panel.data(), count, part, layer.epilogue());
    for (const float y : panel) {
      if (y != 0) return false;
    }
  }
  return true;
}

}  // namespace espalier::kernels
