// binsparse 0.1: the descriptor of a sparse or dense matrix in an HDF5 group.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "io/catalog.hpp"

namespace espalier::io {

enum class MatrixFormat {
  kCsr,
  kCsc,
  kCoo,
  kTensor,  // a sparse level of rank 2 over a dense one of rank 2: the blocks with non-zeros
  kMap,     // linear indices row * cols + column, in buckets
  kList,    // rows of pairs {index, weight}
  kVector,  // CVEC: one sparse vector over the linear index
  kDmat,
  kDvec,
  kFilters,  // the same levels as kTensor: (output channel, input channel) over the taps
};

struct MatrixInfo {
  std::string group;  // its path in the file
  MatrixFormat format = MatrixFormat::kCsr;
  std::int64_t rows = 0;
  std::int64_t cols = 1;
  std::int64_t stored = 0;  // number_of_stored_values; of a tensor with the zeros in its blocks
  bool iso = false;         // `values` holds one value for all
  std::int64_t block_rows = 1, block_cols = 1;  // of a tensor
  int bucket_bits = 0;  // of a map: a bucket holds 2^bucket_bits linear indices in a row
  // Of kFilters: rows are output channels, columns (input channel, y, x) of filters of this size.
  std::int64_t filter_height = 1, filter_width = 1;
  // In which type weights are kept: kFloat32, whatever number they are stored as, or a half type.
  ElementType value_type = kFloat32;

  std::int64_t block_values() const noexcept { return block_rows * block_cols; }
  // Stored values that share their indices: those of a filter or a block.
  std::int64_t values_per_index() const noexcept {
    return format == MatrixFormat::kFilters  ? filter_height * filter_width
           : format == MatrixFormat::kTensor ? block_values()
                                             : 1;
  }
  // Of a tensor: blocks one above the other, and beside each other.
  std::int64_t rows_of_blocks() const noexcept { return (rows - 1) / block_rows + 1; }
  std::int64_t cols_of_blocks() const noexcept { return (cols - 1) / block_cols + 1; }
  // Of a map.
  std::int64_t buckets() const noexcept { return ((rows * cols - 1) >> bucket_bits) + 1; }
  // Whether zeros are stored beside the non-zeros, so that `stored` is no count of weights.
  bool stores_zeros() const noexcept {
    return format == MatrixFormat::kDmat || format == MatrixFormat::kTensor;
  }
};

// The most values that a block of a tensor has.
inline constexpr std::int64_t kMostBlockValues = 65536;

// "CSR", "CSC", "COO", "tensor", "map", "list", "CVEC", "DMAT", "DVEC", "filters"
std::string to_string(MatrixFormat format);

// How a descriptor spells the format of a tensor and of filters.
nlohmann::json blocks_format();

// The width of a map's buckets (8, 16 or 32 bits) with which it is smallest.
int plan_bucket_bits(const MatrixInfo& map);

// The attribute of the group that describes the matrix, `binsparse` or for lists `espalier`, and
// its JSON text; data types by dataset name.
std::string descriptor_name(MatrixFormat format);
std::string make_descriptor(const MatrixInfo& matrix,
                            const std::map<std::string, ElementType>& data_types);

// Reads both spellings (with and without the inner "binsparse" object; COOR is COO) and checks the
// descriptor against the datasets: present, of number types, of the right lengths.
//   where    pure
//   throws   Error(kBadData) naming file, group and key
MatrixInfo parse_matrix(const Catalog& catalog, const std::string& group);

}  // namespace espalier::io
