// Rows whose content follows from their global number, and ways to divide them among ranks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "framework/random.hpp"
#include "framework/shard.hpp"
#include "io/batch_file.hpp"
#include "io/matrix_rows.hpp"
#include "io/network_file.hpp"
#include "io/result_file.hpp"
#include "io/staged_file.hpp"
#include "kernels/layout.hpp"

namespace espalier::tests {

// Contiguous ranges in rank order; some are empty, and with an even seed so are the first ones.
inline Range random_share(std::int64_t count, const Comm& comm, std::uint64_t seed) {
  RandomStream random(seed, 0, 0);
  std::vector<std::int64_t> cuts = {0, count};
  for (int cut = 1; cut < comm.ranks(); ++cut) {
    const auto drawn =
        static_cast<std::int64_t>(random.next_below(static_cast<std::uint64_t>(count) + 1));
    cuts.push_back(seed % 2 == 0 && cut == 1 ? 0 : drawn);
  }
  std::sort(cuts.begin(), cuts.end());
  const auto rank = static_cast<std::size_t>(comm.rank());
  return {cuts[rank], cuts[rank + 1]};
}

struct RowRecipe {
  std::uint64_t seed = 1;
  std::int64_t cols = 1;
  double density = 0.5;
  bool iso = false;    // all values 0.0625
  bool whole = false;  // values 1 to 100
};

// Rows [range) of the matrix that the recipe describes; every third row is empty.
inline kernels::CsrRows rows_of(const RowRecipe& recipe, Range range) {
  kernels::CsrRows rows;
  rows.first_row = range.begin;
  rows.cols = recipe.cols;
  rows.iso = recipe.iso;
  for (std::int64_t row = range.begin; row < range.end; ++row) {
    RandomStream random(recipe.seed, 7, static_cast<std::uint64_t>(row));
    for (std::int64_t col = 0; row % 3 != 1 && col < recipe.cols; ++col) {
      if (random.next_unit() > recipe.density) {
        continue;
      }
      rows.indices.push_back(static_cast<std::uint32_t>(col));
      if (!recipe.iso) {
        rows.values.push_back(recipe.whole ? static_cast<float>(1 + random.next_below(100))
                                           : static_cast<float>(random.next_normal()));
      }
    }
    rows.pointers.push_back(static_cast<std::int64_t>(rows.indices.size()));
  }
  if (recipe.iso) {
    rows.values = {0.0625F};
  }
  return rows;
}

inline std::int64_t nnz_of(const RowRecipe& recipe, std::int64_t rows) {
  return rows_of(recipe, {0, rows}).nnz();
}

// One value for each stored one, whether iso or not.
inline std::vector<float> values_of(const kernels::CsrRows& rows) {
  std::vector<float> values;
  for (std::int64_t k = 0; k < rows.nnz(); ++k) {
    values.push_back(rows.value(k));
  }
  return values;
}

inline bool equal_rows(const kernels::CsrRows& a, const kernels::CsrRows& b) {
  return a.first_row == b.first_row && a.cols == b.cols && a.pointers == b.pointers &&
         a.indices == b.indices && values_of(a) == values_of(b);
}

inline io::Provenance provenance_of(const std::string& kind) {
  return {kind, "test", {{"seed", 1}}, {"0123", "4567"}};
}

// A file of this job's ranks, and what one process alone writes.
struct FilePair {
  std::string shared, alone;
};
inline FilePair file_pair(const std::string& name, const Comm& comm) {
  return {name + ".h5", text(name, "-alone", comm.rank(), ".h5")};
}

}  // namespace espalier::tests
