#include "io/foreign_hdf5.hpp"

#include <cmath>
#include <limits>
#include <span>

#include "framework/error.hpp"
#include "io/matrix_rows.hpp"
#include "io/stored_array.hpp"
#include "io/tidy_rows.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kMostFeatures = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kMostListed = 6;
// Deflate cannot shrink by more than about 1:1032, so larger claims cannot be true.
constexpr std::int64_t kMostInflation = 1100;

[[noreturn]] void refuse(const Catalog& catalog, const std::string& path, const std::string& what) {
  throw Error(ExitStatus::kBadData, text(catalog.file, ": ", path, ": ", what));
}

std::string in_group(const std::string& group, const std::string& name) {
  return (group == "/" ? "" : group) + "/" + name;
}

// "there is nothing here; the file has /x, /y, …".
[[noreturn]] void refuse_absent(const Catalog& catalog, const std::string& path) {
  std::string list;
  std::size_t listed = 0;
  for (const auto& [name, dataset] : catalog.datasets) {
    if (listed++ == kMostListed) {
      list += ", ...";
      break;
    }
    list += (list.empty() ? "" : ", ") + name;
  }
  refuse(catalog, path,
         list.empty() ? "the file has no datasets" : "not in the file, which has " + list);
}

void check_width(const Catalog& catalog, const ForeignFeatures& found,
                 std::optional<std::int64_t> wanted) {
  if (found.features < 1 || found.features > kMostFeatures) {
    refuse(catalog, found.path,
           text("has ", found.features, " features a sample, right is 1..", kMostFeatures));
  }
  if (wanted && *wanted != found.features) {
    throw Error(ExitStatus::kUsage, text(catalog.file, ": ", found.path, " has ", found.features,
                                         " features a sample, but --features-cols is ", *wanted));
  }
}

ForeignFeatures find_dense(const Catalog& catalog, const Dataset& dataset) {
  if (!is_number(dataset.type)) {
    refuse(catalog, dataset.path,
           text("holds elements of type ", to_string(dataset.type), ", right are numbers"));
  }
  if (dataset.shape.empty()) {
    refuse(catalog, dataset.path, "is a single number, right is an array of samples x features");
  }
  ForeignFeatures found;
  found.path = dataset.path;
  found.type = dataset.type;
  found.samples = dataset.shape[0];
  found.features = 1;
  for (std::size_t d = 1; d < dataset.shape.size(); ++d) {
    if (__builtin_mul_overflow(found.features, dataset.shape[d], &found.features)) {
      refuse(catalog, dataset.path, "has too many features to count");
    }
  }
  if (__builtin_mul_overflow(found.features, found.samples, &found.stored)) {
    refuse(catalog, dataset.path, "has too many values to count");
  }
  return found;
}

ForeignFeatures find_binsparse(const Catalog& catalog, const std::string& path) {
  ForeignFeatures found;
  found.form = ForeignFeatures::Form::kBinsparse;
  found.path = path;
  found.matrix = parse_matrix(catalog, path);
  const MatrixFormat format = found.matrix.format;
  if (format != MatrixFormat::kCsr && format != MatrixFormat::kCsc &&
      format != MatrixFormat::kCoo && format != MatrixFormat::kDmat) {
    refuse(catalog, path,
           "is a " + to_string(format) + ", right is CSR, CSC, COO or DMAT of samples x features");
  }
  found.samples = found.matrix.rows;
  found.features = found.matrix.cols;
  found.stored = found.matrix.stored;
  found.type = catalog.dataset(in_group(path, "values")).type;
  return found;
}

// A dataset of a CSR group: one dimension, numbers or whole numbers.
const Dataset& csr_part(const Catalog& catalog, const std::string& group, const std::string& name,
                        bool floats) {
  const Dataset* part = catalog.find_dataset(in_group(group, name));
  if (part == nullptr) {
    refuse(catalog, group,
           "is a group without " + name +
               "; right is a dataset, or a group with data, indices and indptr (CSR)");
  }
  if (part->shape.size() != 1 || !is_number(part->type) ||
      (!floats && part->type.kind == ElementClass::kFloat)) {
    refuse(catalog, part->path,
           text("right is one dimension of ", floats ? "" : "whole ", "numbers, found ",
                to_string(part->type), " in ", part->shape.size(), " dimensions"));
  }
  if (part->bytes() / kMostInflation > catalog.file_bytes) {
    refuse(catalog, part->path,
           text("claims ", part->bytes(), " bytes in a file of ", catalog.file_bytes));
  }
  return *part;
}

// The shape the group states, if it does.
std::optional<std::vector<std::int64_t>> stated_shape(const Catalog& catalog,
                                                      const std::string& group) {
  for (const char* name : {"shape", "h5sparse_shape"}) {
    const auto* shape = catalog.find_attribute(group, name);
    if (shape == nullptr) {
      continue;
    }
    if (!shape->is_array() || shape->size() != 2 || !(*shape)[0].is_number_integer() ||
        !(*shape)[1].is_number_integer()) {
      refuse(catalog, group, text("its attribute ", name, " is no pair of whole numbers"));
    }
    return std::vector{(*shape)[0].get<std::int64_t>(), (*shape)[1].get<std::int64_t>()};
  }
  return std::nullopt;
}

void refuse_column_major(const Catalog& catalog, const std::string& group) {
  for (const char* name : {"encoding-type", "h5sparse_format"}) {
    const auto* kind = catalog.find_attribute(group, name);
    if (kind != nullptr && kind->is_string() && kind->get<std::string>().starts_with("csc")) {
      refuse(catalog, group, "is stored by column (CSC), right is by row (CSR), a row a sample");
    }
  }
}

ForeignFeatures find_csr(const Catalog& catalog, const std::string& group,
                         std::optional<std::int64_t> wanted) {
  refuse_column_major(catalog, group);
  const Dataset& data = csr_part(catalog, group, "data", true);
  const Dataset& indices = csr_part(catalog, group, "indices", false);
  const Dataset& pointers = csr_part(catalog, group, "indptr", false);
  if (data.count() != indices.count()) {
    refuse(catalog, group, text("has ", data.count(), " data but ", indices.count(), " indices"));
  }
  if (pointers.count() < 1) {
    refuse(catalog, group, "its indptr is empty, right is the number of samples plus one");
  }
  ForeignFeatures found;
  found.form = ForeignFeatures::Form::kCsr;
  found.path = group;
  found.samples = pointers.count() - 1;
  found.stored = data.count();
  found.type = data.type;
  const auto shape = stated_shape(catalog, group);
  if (!shape && !wanted) {
    throw Error(ExitStatus::kUsage, text(catalog.file, ": ", group,
                                         " has no attribute shape; give the number of features "
                                         "with --features-cols"));
  }
  if (shape && (*shape)[0] != found.samples) {
    refuse(catalog, group,
           text("its shape says ", (*shape)[0], " rows, but its indptr has ", found.samples,
                " and one"));
  }
  found.features = shape ? (*shape)[1] : *wanted;
  return found;
}

kernels::CsrRows read_dense(const DataFile& file, const ForeignFeatures& features, Range samples) {
  const Dataset& dataset = file.catalog().dataset(features.path);
  const auto width = static_cast<std::size_t>(features.features);
  std::vector<float> values(static_cast<std::size_t>(samples.size()) * width);
  file.read(dataset, samples.begin * features.features, values);
  kernels::CsrRows rows;
  for (std::size_t k = 0; k < values.size(); ++k) {
    if (!std::isfinite(values[k])) {
      refuse(file.catalog(), features.path,
             text("sample ", samples.begin + static_cast<std::int64_t>(k / width), ", feature ",
                  k % width, " (both from 0) is ", values[k], ", right are finite numbers"));
    }
    if (values[k] != 0) {
      rows.indices.push_back(static_cast<std::uint32_t>(k % width));
      rows.values.push_back(values[k]);
    }
    if ((k + 1) % width == 0) {
      rows.pointers.push_back(static_cast<std::int64_t>(rows.indices.size()));
    }
  }
  return rows;
}

// The pointers of `samples`, checked against the number of stored values.
std::vector<std::int64_t> read_pointers(const DataFile& file, const ForeignFeatures& features,
                                        Range samples) {
  const std::string path = in_group(features.path, "indptr");
  std::vector<std::int64_t> bounds(static_cast<std::size_t>(samples.size()) + 1);
  file.read(file.catalog().dataset(path), samples.begin, bounds);
  const bool starts = samples.begin > 0 || bounds.front() == 0;
  const bool ends = samples.end < features.samples || bounds.back() == features.stored;
  if (!starts || !ends) {
    refuse(file.catalog(), path,
           text("should go from 0 to ", features.stored, " but goes ", starts ? "to " : "from ",
                starts ? bounds.back() : bounds.front()));
  }
  for (std::size_t r = 0; r < bounds.size(); ++r) {
    if (bounds[r] < 0 || bounds[r] > features.stored || (r > 0 && bounds[r] < bounds[r - 1])) {
      refuse(file.catalog(), path,
             text("entry ", samples.begin + static_cast<std::int64_t>(r), " is ", bounds[r],
                  ", right is ascending from 0 to ", features.stored));
    }
  }
  return bounds;
}

void check_csr(const Catalog& catalog, const ForeignFeatures& features,
               const kernels::CsrRows& rows) {
  kernels::CsrFault fault{};
  if (!kernels::find_fault(rows, fault)) {
    return;
  }
  using Kind = kernels::CsrFault::Kind;
  std::string what = " is not finite";
  if (fault.kind == Kind::kColumnRange) {
    what = text(" is out of range, right is 0..", features.features - 1);
  } else if (fault.kind == Kind::kDuplicate) {
    what = " stands there twice";
  }
  refuse(catalog, features.path,
         text("sample ", fault.row, " (from 0): column ", fault.column, what));
}

kernels::CsrRows read_csr(const DataFile& file, const ForeignFeatures& features, Range samples) {
  const Catalog& catalog = file.catalog();
  kernels::CsrRows rows;
  rows.first_row = samples.begin;
  rows.cols = features.features;
  rows.pointers = read_pointers(file, features, samples);
  const std::int64_t first = rows.pointers.front();
  for (std::int64_t& pointer : rows.pointers) {
    pointer -= first;
  }
  rows.indices.resize(static_cast<std::size_t>(rows.nnz()));
  rows.values.resize(rows.indices.size());
  file.read(catalog.dataset(in_group(features.path, "indices")), first, rows.indices);
  file.read(catalog.dataset(in_group(features.path, "data")), first, rows.values);
  sort_rows(rows);
  check_csr(catalog, features, rows);
  leave_out_zeros(rows);
  return rows;
}

kernels::CsrRows read_binsparse(const DataFile& file, const ForeignFeatures& features,
                                Range samples) {
  kernels::CsrRows rows = read_rows(file, features.matrix, samples);
  if (rows.iso) {
    const float value = rows.nnz() > 0 ? rows.values.at(0) : 0;
    rows.values.assign(rows.indices.size(), value);
    rows.iso = false;
  }
  leave_out_zeros(rows);
  return rows;
}

}  // namespace

ForeignFeatures find_foreign_features(const Catalog& catalog, const std::string& path,
                                      std::optional<std::int64_t> features) {
  ForeignFeatures found;
  if (const Dataset* dataset = catalog.find_dataset(path)) {
    found = find_dense(catalog, *dataset);
  } else if (!catalog.has_group(path)) {
    refuse_absent(catalog, path);
  } else if (catalog.find_attribute(path, "binsparse") != nullptr) {
    found = find_binsparse(catalog, path);
  } else {
    found = find_csr(catalog, path, features);
  }
  check_width(catalog, found, features);
  return found;
}

kernels::CsrRows read_foreign_features(const DataFile& file, const ForeignFeatures& features,
                                       Range samples) {
  kernels::CsrRows rows;
  if (!samples.empty()) {
    switch (features.form) {
      case ForeignFeatures::Form::kDense:
        rows = read_dense(file, features, samples);
        break;
      case ForeignFeatures::Form::kCsr:
        rows = read_csr(file, features, samples);
        break;
      case ForeignFeatures::Form::kBinsparse:
        rows = read_binsparse(file, features, samples);
        break;
    }
  }
  rows.first_row = samples.begin;
  rows.cols = features.features;
  return rows;
}

const Dataset& find_foreign_labels(const Catalog& catalog, const std::string& path,
                                   std::int64_t samples) {
  const Dataset* dataset = catalog.find_dataset(path);
  if (dataset == nullptr) {
    refuse_absent(catalog, path);
  }
  const auto& shape = dataset->shape;
  const bool column = shape.size() == 2 && shape[1] == 1;
  if (!is_whole(dataset->type) || (shape.size() != 1 && !column)) {
    refuse(catalog, path,
           text("holds ", to_string(dataset->type), " in ", shape.size(),
                " dimensions, right for labels is one whole number a sample"));
  }
  if (dataset->count() != samples) {
    refuse(catalog, path,
           text("has ", dataset->count(), " labels, but there are ", samples, " samples"));
  }
  return *dataset;
}

}  // namespace espalier::io
