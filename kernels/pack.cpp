#include "kernels/pack.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <sstream>
#include <utility>

#include "kernels/bfloat16.hpp"
#include "kernels/dense_parts.hpp"
#include "kernels/local_rows.hpp"
#include "kernels/spmm.hpp"
#include "kernels/target.hpp"

namespace espalier::kernels {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

template <class Data>
std::int64_t bytes_of(const Data& data) {
  return static_cast<std::int64_t>(data.size() * sizeof(data[0]));
}

// Which rows share their inputs with others, and which do not.
struct Division {
  RowGroups groups;  // those of one row are the singles
  std::vector<std::uint32_t> singles;
  std::int64_t single_nnz = 0;
};

Division divide(const LocalRows& rows, const PackForm& form) {
  Division division;
  if (form.share) division.groups = group_rows(rows);
  const RowGroups& groups = division.groups;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto group = groups.group(g);
    if (group.size() == 1) division.singles.push_back(group.front());
  }
  if (!form.share) {
    division.singles.resize(at(rows.rows()));
    std::iota(division.singles.begin(), division.singles.end(), 0U);
  }
  for (const std::uint32_t row : division.singles) division.single_nnz += rows.count(row);
  return division;
}

// Whether products with tame activations, and their sums, are no denormals.
bool all_tame(std::span<const float> weights) {
  return std::all_of(weights.begin(), weights.end(), [](float weight) {
    return std::isfinite(weight) && std::abs(weight) >= kLeastDenseWeight;
  });
}

struct Forms {
  TiledRows tiled;
  BlockedRows blocked;
};

BlockLayout layout_of(const LocalRows& rows, const PackForm& form) {
  const bool beside =
      form.rows_beside > 0 ? form.rows_beside == kRowsBeside : vector_floats() == kRowsBesideFloats;
  if (!beside) return BlockLayout::kSingle;
  const bool shorts = form.round_weights && !rows.iso && form.block_inputs <= kMostShortInputs &&
                      multiplies_bfloat16_pairs() && all_tame(rows.values);
  return shorts ? BlockLayout::kShort : BlockLayout::kBeside;
}

// Nothing if a weight is zero.
std::optional<Forms> pack_sums(const LocalRows& rows, const PackForm& form) {
  const Division division = divide(rows, form);
  auto tiled = pack_tiles(rows, division.groups);
  if (!tiled) return std::nullopt;
  BlockChoice choice = choose_blocks(rows.inputs, std::ssize(division.singles), division.single_nnz,
                                     layout_of(rows, form));
  if (form.block_inputs > 0) choice.inputs = form.block_inputs;
  DenseParts dense;
  if (choice.layout != BlockLayout::kShort) {
    dense = pack_dense_parts(rows, division.singles, choice);
  }
  const LocalRows& others = dense.parts.empty() ? rows : dense.rest;
  auto blocked = pack_blocks(others, division.singles, choice);
  if (!blocked) return std::nullopt;
  if (!dense.parts.empty()) add_dense_parts(*blocked, std::move(dense), choice.group_rows);
  return Forms{std::move(*tiled), std::move(*blocked)};
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
  return bytes_of(blocked_.parts) + bytes_of(blocked_.rungs) + bytes_of(blocked_.rung_rows) +
         bytes_of(blocked_.indices) + bytes_of(blocked_.values) + bytes_of(blocked_.shorts) +
         bytes_of(blocked_.dense_tiles) + bytes_of(blocked_.dense_values) + bytes_of(tiled_.tiles) +
         bytes_of(tiled_.narrow) + bytes_of(tiled_.wide) + bytes_of(tiled_.values) +
         bytes_of(maxima_.pointers) + bytes_of(maxima_.indices) + bytes_of(bias_);
}

std::string PackedLayer::block_names() const {
  if (nnz_ == 0) return "empty";
  if (!maxima_.pointers.empty()) return "maximum";
  const std::int64_t shared = nnz_ - blocked_.weights - blocked_.dense_weights;
  std::ostringstream names;
  const auto add = [&](const std::string& name, std::int64_t weights) {
    if (weights == 0) return;
    names << (names.tellp() > 0 ? ", " : "") << name << ' ' << (weights * 100 + nnz_ / 2) / nnz_
          << '%';
  };
  add("shared", shared);
  add("dense", blocked_.dense_weights);
  add("blocked by " + std::to_string(blocked_.block_inputs), blocked_.weights);
  return names.str();
}

PackedLayer pack_layer(const CsrRows& rows, std::span<const std::uint32_t> inputs,
                       std::span<const float> bias, const Epilogue& epilogue,
                       const PackForm& form) {
  CsrRows rounded;
  if (form.round_weights) {
    rounded = rows;
    round_to_bfloat16(rounded.values);
  }
  PackedLayer packed;
  const auto take = [&](StoredZeros zeros) {
    const LocalRows local = localize(form.round_weights ? rounded : rows, inputs, zeros);
    packed.rows_ = local.rows();
    packed.nnz_ = local.nnz();
    packed.inputs_ = local.inputs;
    packed.iso_ = local.iso;
    if (form.maximum) {
      packed.maxima_.pointers.assign(local.pointers.begin(), local.pointers.end());
      packed.maxima_.indices.assign(local.indices.begin(), local.indices.end());
      return true;
    }
    auto forms = pack_sums(local, form);
    if (!forms) return false;
    packed.tiled_ = std::move(forms->tiled);
    packed.blocked_ = std::move(forms->blocked);
    return true;
  };
  // Stored zeros are rare, and found while weights are copied.
  if (form.maximum || !take(StoredZeros::kUnknown)) take(StoredZeros::kNone);
  packed.epilogue_ = epilogue;
  packed.rounds_outputs_ = form.round_outputs;
  packed.bias_.assign(bias.begin(), bias.end());
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
