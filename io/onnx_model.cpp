#include "io/onnx_model.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include "framework/error.hpp"
#include "io/onnx_tensor.hpp"

namespace espalier::io {
namespace {

namespace pb = google::protobuf;
using onnx::TensorProto;

constexpr std::int64_t kLargestConstant = INT64_C(1) << 28;  // elements read at once

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ExitStatus::kBadData, where + ": " + what);
}

std::vector<std::int64_t> dims_of(const pb::RepeatedField<pb::int64>& dims) {
  return {dims.begin(), dims.end()};
}

}  // namespace

OnnxModel::OnnxModel(const std::string& path)
    : path_(path), file_(std::make_shared<const InputFile>(path)), files_{path} {
  if (file_->size() >= std::numeric_limits<int>::max()) {
    refuse(path_, "has 2 GiB or more, which no ONNX file may have; larger tensors lie beside it");
  }
  const OnnxSkeleton skeleton = read_onnx_skeleton(path_);
  if (!model_.ParseFromString(skeleton.message) || !model_.has_graph()) {
    refuse_onnx_file(path_);
  }
  const auto add = [&](const std::string& name, Constant constant) {
    if (!constants_.emplace(name, std::move(constant)).second) {
      refuse(path_, text("has two constants of the name ", in_quotes(name)));
    }
  };
  expects(std::ssize(skeleton.dense) == graph().initializer_size() &&
              std::ssize(skeleton.sparse) == graph().sparse_initializer_size(),
          "every tensor of the graph has been met");
  for (int k = 0; k < graph().initializer_size(); ++k) {
    const TensorProto& tensor = graph().initializer(k);
    add(tensor.name(), {&tensor,
                        skeleton.dense[static_cast<std::size_t>(k)],
                        nullptr,
                        {},
                        dims_of(tensor.dims())});
  }
  for (int k = 0; k < graph().sparse_initializer_size(); ++k) {
    const onnx::SparseTensorProto& tensor = graph().sparse_initializer(k);
    const OnnxSkeleton::Sparse& elements = skeleton.sparse[static_cast<std::size_t>(k)];
    add(tensor.values().name(), {&tensor.values(), elements.values, &tensor.indices(),
                                 elements.indices, dims_of(tensor.dims())});
  }
}

bool OnnxModel::is_constant(const std::string& name) const { return constants_.contains(name); }

void OnnxModel::add_constant(const std::string& name, const TensorProto& tensor) {
  if (!constants_.emplace(name, Constant{&tensor, {}, nullptr, {}, dims_of(tensor.dims())})
           .second) {
    refuse(path_, text("has two constants of the name ", in_quotes(name)));
  }
}

const OnnxModel::Constant& OnnxModel::constant(const std::string& name) const {
  const auto found = constants_.find(name);
  if (found == constants_.end()) {
    refuse(path_, text(in_quotes(name),
                       " should be a constant: weights that are computed are not "
                       "imported"));
  }
  return found->second;
}

StoredArray OnnxModel::open(const TensorProto& tensor, const OnnxElements& elements,
                            const std::vector<std::int64_t>& shape) const {
  StoredArray array;
  array.name = text(path_, ": ", in_quotes(tensor.name(), 80));
  array.type = onnx_element_type(array.name, tensor.data_type());
  array.shape = shape;
  if (tensor.data_location() == TensorProto::EXTERNAL) {
    open_external(tensor, array);
    return array;
  }
  const bool fits = elements.field == 0 || elements.field == OnnxElements::kRawData ||
                    (elements.field == OnnxElements::kFloatData && array.type == kFloat32) ||
                    (elements.field == OnnxElements::kDoubleData && array.type == kFloat64);
  if (!fits) {
    refuse(array.name, "has its elements in a field of another type");
  }
  if (elements.field != 0) {
    array.bytes = std::make_shared<FileBytes>(file_, elements.bytes);
  } else {
    array.bytes = onnx_message_bytes(tensor);
  }
  check_extent(array, true);
  return array;
}

// Only files in the model's folder or below it.
void OnnxModel::open_external(const TensorProto& tensor, StoredArray& array) const {
  std::string location;
  std::int64_t offset = 0, length = -1;
  for (const auto& entry : tensor.external_data()) {
    const std::string& value = entry.value();
    std::int64_t number = -1;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    const bool whole = error == std::errc() && end == value.data() + value.size() && number >= 0;
    if (entry.key() == "location") {
      location = value;
    } else if (entry.key() == "offset" || entry.key() == "length") {
      if (!whole) {
        refuse(array.name, text("external ", entry.key(), " is ", in_quotes(value),
                                ", right is a whole number below 2^63"));
      }
      (entry.key() == "offset" ? offset : length) = number;
    }
  }
  const std::filesystem::path relative(location);
  const bool outside = location.empty() || location.find('\0') != std::string::npos ||
                       relative.is_absolute() ||
                       std::find(relative.begin(), relative.end(), "..") != relative.end();
  if (outside) {
    refuse(array.name, text("its elements are said to lie in ", in_quotes(location),
                            ", right is a file in the folder of the model"));
  }
  const std::string beside = (std::filesystem::path(path_).parent_path() / relative).string();
  auto file = std::make_shared<const InputFile>(beside);
  if (std::find(files_.begin(), files_.end(), beside) == files_.end()) {
    files_.push_back(beside);
  }
  const std::int64_t there = file->size() - offset;
  if (there < 0 || length > there) {
    refuse(array.name, text("its elements are said to lie at ", offset, " in ", beside,
                            ", which has only ", file->size(), " bytes"));
  }
  array.bytes = std::make_shared<FileBytes>(std::move(file),
                                            Range{offset, offset + (length < 0 ? there : length)});
  check_extent(array, length >= 0);
}

StoredArray OnnxModel::array(const std::string& name) const {
  const Constant& found = constant(name);
  if (found.indices != nullptr) {
    refuse(text(path_, ": ", in_quotes(name, 80)), "is sparse, right is a dense tensor here");
  }
  return open(*found.tensor, found.elements, found.shape);
}

std::unique_ptr<MatrixSource> OnnxModel::matrix(const std::string& name) const {
  const Constant& found = constant(name);
  if (found.indices == nullptr) {
    return dense_source(array(name), name, true);
  }
  StoredArray values = open(*found.tensor, found.elements, dims_of(found.tensor->dims()));
  StoredArray indices = open(*found.indices, found.index_elements, dims_of(found.indices->dims()));
  indices.name = values.name + " (indices)";
  const bool linear = indices.shape.size() == 1;
  const bool by_dimension =
      indices.shape.size() == 2 && indices.shape[1] == std::ssize(found.shape);
  std::int64_t count = 1;
  for (const std::int64_t length : found.shape) {
    if (length < 1 || __builtin_mul_overflow(count, length, &count)) {
      refuse(values.name, "has lengths that cannot be");
    }
  }
  if (!is_whole(indices.type) || !(linear || by_dimension) || values.shape.size() != 1 ||
      indices.shape[0] != values.shape[0] || found.shape.empty()) {
    refuse(values.name, "its indices do not belong to its values");
  }
  auto source = sparse_constant(std::move(values), std::move(indices), found.shape);
  source->label = name;
  return source;
}

std::vector<std::int64_t> OnnxModel::shape(const std::string& name) const {
  return constant(name).shape;
}

std::vector<float> OnnxModel::floats(const std::string& name) const {
  const StoredArray found = array(name);
  if (!is_number(found.type) || found.count() > kLargestConstant) {
    refuse(found.name, "is no constant of a layer: too large");
  }
  std::vector<float> values(static_cast<std::size_t>(found.count()));
  found.read(0, std::span(values));
  for (const float value : values) {
    if (std::isnan(value)) {
      refuse(found.name, "has an element that is no number");
    }
  }
  return values;
}

std::vector<std::int64_t> OnnxModel::integers(const std::string& name) const {
  const StoredArray found = array(name);
  if (!is_whole(found.type) || found.count() > kLargestConstant) {
    refuse(found.name, "holds no whole numbers, or too many");
  }
  std::vector<std::int64_t> values(static_cast<std::size_t>(found.count()));
  found.read(0, std::span(values));
  return values;
}

}  // namespace espalier::io
