// Vectors with one element a sample, as batches and results have them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/catalog.hpp"

namespace espalier::io {

// Whether there is a dataset of whole numbers at `path`, one a sample.
//   where    pure
//   throws   Error(kBadData) if what is there is something else
bool find_labels(const Catalog& catalog, const std::string& path, std::int64_t samples);

// The type of the sample ids at `path` (whole numbers or fixed-length text), if there are any.
//   where    pure
//   throws   Error(kBadData) if what is there is something else
std::optional<ElementType> find_sample_ids(const Catalog& catalog, const std::string& path,
                                           std::int64_t samples);

// The dataset at `path`, which must be of whole numbers and of `shape`.
//   where    pure
//   throws   Error(kBadData)
const Dataset& expect_integers(const Catalog& catalog, const std::string& path,
                               const std::vector<std::int64_t>& shape);

}  // namespace espalier::io
