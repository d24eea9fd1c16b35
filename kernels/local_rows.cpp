#include "kernels/local_rows.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>

namespace espalier::kernels {
namespace {

constexpr std::uint32_t kUnused = std::numeric_limits<std::uint32_t>::max();

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Position in `inputs` by global index; kUnused where the list does not hold it.
Storage<std::uint32_t> positions(std::int64_t cols, std::span<const std::uint32_t> inputs) {
  Storage<std::uint32_t> position(at(cols), kUnused);
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

// True if the list names every input, so that local and global indices are the same.
bool names_all(std::int64_t cols, std::span<const std::uint32_t> inputs) {
  return static_cast<std::int64_t>(inputs.size()) == cols &&
         (inputs.empty() || inputs.back() == inputs.size() - 1);
}

bool all_below(std::span<const std::uint32_t> indices, std::uint64_t limit) {
  std::uint32_t most = 0;
  for (const std::uint32_t index : indices) most = std::max(most, index);
  return indices.empty() || most < limit;
}

// Rows ascend: their last inputs are their largest.
bool last_below(const CsrRows& rows, std::uint64_t limit) {
  std::uint32_t most = 0;
  for (std::size_t row = 1; row < rows.pointers.size(); ++row) {
    if (rows.pointers[row] > rows.pointers[row - 1]) {
      most = std::max(most, rows.indices[at(rows.pointers[row] - 1)]);
    }
  }
  return rows.indices.empty() || most < limit;
}

// Renumbers every index; false if one of them has no number.
bool renumber(const CsrRows& rows, const Storage<std::uint32_t>& position, LocalRows& local) {
  if (!all_below(rows.indices, position.size())) return false;
  local.own_indices.resize(rows.indices.size());
  bool known = true;
  for (std::size_t k = 0; k < rows.indices.size(); ++k) {
    const std::uint32_t index = position[rows.indices[k]];
    known = known && index != kUnused;
    local.own_indices[k] = index;
  }
  return known;
}

// Copies what is not zero, row by row.
void copy_used(const CsrRows& rows, const Storage<std::uint32_t>& position, LocalRows& local) {
  local.own_pointers.assign(1, 0);
  local.own_pointers.reserve(at(rows.rows() + 1));
  local.own_indices.resize(at(rows.nnz()));
  local.own_values.resize(rows.iso ? 0 : at(rows.nnz()));
  std::int64_t kept = 0;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t k = rows.pointers[at(row)]; k < rows.pointers[at(row + 1)]; ++k) {
      const float value = rows.value(k);
      const std::uint32_t column = rows.indices[at(k)];
      const std::uint32_t index = column < position.size() ? position[column] : kUnused;
      if (index == kUnused && value != 0) throw_missing(rows, row, column);
      // Written always and kept only where not zero: no branch for the processor to guess.
      local.own_indices[at(kept)] = index;
      if (!rows.iso) local.own_values[at(kept)] = value;
      kept += value != 0 ? 1 : 0;
    }
    local.own_pointers.push_back(kept);
  }
  local.own_indices.resize(at(kept));
  if (!rows.iso) local.own_values.resize(at(kept));
  local.pointers = local.own_pointers;
  local.indices = local.own_indices;
  local.values = local.own_values;
  if (rows.iso && kept > 0) local.values = rows.values;
}

}  // namespace

bool any_zero(std::span<const float> values) {
  std::uint32_t zeros = 0;
  for (const float value : values) zeros += value == 0 ? 1 : 0;
  return zeros != 0 || values.size() > kUnused;  // a count that may have wrapped: look at each
}

LocalRows localize(const CsrRows& rows, std::span<const std::uint32_t> inputs, StoredZeros stored) {
  LocalRows local;
  local.inputs = static_cast<std::int64_t>(inputs.size());
  local.iso = rows.iso;
  local.pointers = rows.pointers;
  local.indices = rows.indices;
  local.values = rows.values;
  const bool zeros = (rows.iso || stored == StoredZeros::kNone) && any_zero(rows.values);
  if (!zeros && names_all(rows.cols, inputs) && last_below(rows, inputs.size())) {
    return local;
  }
  const auto position = positions(rows.cols, inputs);
  if (!zeros && renumber(rows, position, local)) {
    local.indices = local.own_indices;
    return local;
  }
  copy_used(rows, position, local);
  return local;
}

}  // namespace espalier::kernels
