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

std::uint64_t hash_of(std::span<const std::uint32_t> indices) {
  // Two sums of mixed terms: the multiplications do not wait for each other.
  std::uint64_t even = indices.size();
  std::uint64_t odd = 0;
  std::uint64_t place = 0x9E3779B97F4A7C15U;
  for (const std::uint32_t index : indices) {
    const std::uint64_t term = (index + place) * 0xD6E8FEB86659FD93U;
    even += term ^ (term >> 32U);
    odd ^= term;
    place += 0x9E3779B97F4A7C15U;
  }
  return even ^ (odd * 0xFF51AFD7ED558CCDU);
}

struct Keyed {
  std::uint64_t hash;
  std::uint32_t row;
};

}  // namespace

LocalRows localize(const CsrRows& rows, std::span<const std::uint32_t> inputs) {
  const auto position = positions(rows.cols, inputs);
  LocalRows local;
  local.inputs = static_cast<std::int64_t>(inputs.size());
  local.iso = rows.iso;
  local.pointers.reserve(at(rows.rows() + 1));
  local.indices.resize(at(rows.nnz()));
  local.values.resize(rows.iso ? 0 : at(rows.nnz()));
  std::int64_t kept = 0;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t k = rows.pointers[at(row)]; k < rows.pointers[at(row + 1)]; ++k) {
      const float value = rows.value(k);
      const std::uint32_t column = rows.indices[at(k)];
      const std::uint32_t index = column < position.size() ? position[column] : kUnused;
      if (index == kUnused && value != 0) throw_missing(rows, row, column);
      // Written always and kept only where not zero: no branch for the processor to guess.
      local.indices[at(kept)] = index;
      if (!rows.iso) local.values[at(kept)] = value;
      kept += value != 0 ? 1 : 0;
    }
    local.pointers.push_back(kept);
  }
  local.indices.resize(at(kept));
  if (!rows.iso) local.values.resize(at(kept));
  if (rows.iso && kept > 0) local.values.push_back(rows.value(0));
  return local;
}

std::vector<std::vector<std::uint32_t>> group_rows(const LocalRows& rows) {
  std::vector<Keyed> keyed;
  keyed.reserve(at(rows.rows()));
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const auto r = static_cast<std::uint32_t>(row);
    keyed.push_back({hash_of(rows.row_indices(r)), r});
  }
  std::sort(keyed.begin(), keyed.end(), [](const Keyed& a, const Keyed& b) {
    return a.hash != b.hash ? a.hash < b.hash : a.row < b.row;
  });
  std::vector<std::vector<std::uint32_t>> groups;
  std::uint64_t last = 0;
  for (const Keyed& key : keyed) {
    // Equal hashes are compared in full; two sets that collide only make smaller groups.
    const bool joins =
        !groups.empty() && key.hash == last &&
        std::ranges::equal(rows.row_indices(groups.back().front()), rows.row_indices(key.row));
    if (!joins) groups.emplace_back();
    groups.back().push_back(key.row);
    last = key.hash;
  }
  std::sort(groups.begin(), groups.end(),
            [](const auto& a, const auto& b) { return a.front() < b.front(); });
  return groups;
}

}  // namespace espalier::kernels
