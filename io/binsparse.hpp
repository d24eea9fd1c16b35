// binsparse 0.1: the descriptor of a sparse or dense matrix in an HDF5 group.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "io/catalog.hpp"

namespace espalier::io {

enum class MatrixFormat { kCsr, kCoo, kDmat, kDvec, kFilters };

struct MatrixInfo {
  std::string group;  // its path in the file
  MatrixFormat format = MatrixFormat::kCsr;
  std::int64_t rows = 0;
  std::int64_t cols = 1;
  std::int64_t stored = 0;  // number_of_stored_values
  bool iso = false;         // `values` holds one value for all
  // Of kFilters: rows are output channels, columns (input channel, y, x) of filters of this size.
  std::int64_t filter_height = 1, filter_width = 1;

  // Stored values that share their indices: those of a filter.
  std::int64_t values_per_index() const noexcept { return filter_height * filter_width; }
};

std::string to_string(MatrixFormat format);  // "CSR", "COO", "DMAT", "DVEC", "filters"

// The JSON text of the group's attribute `binsparse`; data types by dataset name.
std::string make_descriptor(const MatrixInfo& matrix,
                            const std::map<std::string, ElementType>& data_types);

// Reads both spellings (with and without the inner "binsparse" object; COOR is COO) and checks the
// descriptor against the datasets: present, of number types, of the right lengths.
//   where    pure
//   throws   Error(kBadData) naming file, group and key
MatrixInfo parse_matrix(const Catalog& catalog, const std::string& group);

}  // namespace espalier::io
