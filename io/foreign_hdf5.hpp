// People's own arrays in HDF5 and NetCDF-4 files, read in parallel where they lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "framework/shard.hpp"
#include "io/binsparse.hpp"
#include "io/catalog.hpp"
#include "io/data_file.hpp"
#include "kernels/layout.hpp"

namespace espalier::io {

// Samples x features, in one of three forms.
struct ForeignFeatures {
  enum class Form {
    kDense,      // a dataset of numbers; all dimensions but the first are flattened
    kCsr,        // a group with data, indices and indptr, as SciPy, AnnData and h5sparse write it
    kBinsparse,  // a binsparse group
  };
  Form form = Form::kDense;
  std::string path;  // of the dataset or the group
  std::int64_t samples = 0;
  std::int64_t features = 0;
  std::int64_t stored = 0;  // values in the file
  ElementType type;         // of the stored values
  MatrixInfo matrix;        // of kBinsparse
};

// Finds out what is at `path`. `features` is needed where the group has no attribute `shape`.
//   where    pure
//   throws   Error: kBadData naming file, path, what was found and what would be right; kUsage
//            if the number of features is not known or contradicts the file's
ForeignFeatures find_foreign_features(const Catalog& catalog, const std::string& path,
                                      std::optional<std::int64_t> features);

// The features of `samples`; zeros are left out.
//   where    local, independent
//   throws   Error as DataFile::read; kBadData naming file, path and sample if a value is not
//            finite, a column is out of range or stands in a sample twice
kernels::CsrRows read_foreign_features(const DataFile& file, const ForeignFeatures& features,
                                       Range samples);

// The labels' dataset: whole numbers, one a sample; a second dimension of 1 is fine.
//   where    pure
//   throws   Error(kBadData) also if there are not `samples`
const Dataset& find_foreign_labels(const Catalog& catalog, const std::string& path,
                                   std::int64_t samples);

// Sample ids: whole numbers, which become int64, or text, which becomes fixed-length.
class ForeignIds {
 public:
  // `data` is borrowed. Text of variable length is read once to find the longest.
  //   where    collective over `comm`
  //   throws   SharedError(kBadData) also if there are not `samples`
  ForeignIds(const Comm& comm, const DataFile& data, const std::string& path, std::int64_t samples);
  ~ForeignIds();
  ForeignIds(ForeignIds&&) noexcept;
  ForeignIds& operator=(ForeignIds&&) noexcept;

  ElementType type() const noexcept { return type_; }
  // The ids of `samples` as a batch stores them; shorter text is padded with NUL.
  //   where    local
  std::vector<std::byte> read(Range samples) const;

 private:
  class VariableText;
  const DataFile* data_;
  const Dataset* dataset_;
  ElementType type_;
  std::unique_ptr<VariableText> text_;
};

}  // namespace espalier::io
