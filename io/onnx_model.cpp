#include "io/onnx_model.hpp"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {
namespace {

namespace pb = google::protobuf;
using onnx::TensorProto;
using pb::internal::WireFormatLite;

// Numbers of fields, as onnx.proto has them.
constexpr int kModelGraph = 7;
constexpr int kGraphInitializer = 5, kGraphSparse = 15;
constexpr int kSparseValues = 1, kSparseIndices = 2;
constexpr int kFloatData = 4, kRawData = 9, kDoubleData = 10;
constexpr std::int64_t kLargestConstant = INT64_C(1) << 28;  // elements read at once

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ExitStatus::kBadData, where + ": " + what);
}

[[noreturn]] void damaged(const std::string& path) {
  refuse(path, "is no ONNX model, or it is damaged or truncated");
}

bool is_message(std::uint32_t tag, int field) {
  return WireFormatLite::GetTagFieldNumber(tag) == field &&
         WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
}

// Copies messages without the elements of their tensors.
class Skeleton {
 public:
  struct Sparse {
    OnnxModel::Elements values, indices;
  };

  Skeleton(const std::string& path, pb::io::CodedInputStream& in) : path_(path), in_(in) {}

  std::string model() {
    return copy([&](std::uint32_t tag) {
      return is_message(tag, kModelGraph) ? inner(tag, [&] { return graph(); }) : false;
    });
  }

  std::vector<OnnxModel::Elements> dense;
  std::vector<Sparse> sparse;

 private:
  // Copies the fields of the message at hand; `special(tag)` may deal with one and return true.
  template <typename Special>
  std::string copy(Special&& special) {
    std::string out;
    {
      pb::io::StringOutputStream stream(&out);
      pb::io::CodedOutputStream coded(&stream);
      for (std::uint32_t tag = in_.ReadTag(); tag != 0; tag = in_.ReadTag()) {
        pending_.clear();
        if (special(tag)) {
          coded.WriteString(pending_);
        } else if (!WireFormatLite::SkipField(&in_, tag, &coded)) {
          damaged(path_);
        }
      }
      if (!in_.ConsumedEntireMessage()) {
        damaged(path_);
      }
    }
    return out;
  }

  // The message inside the field `tag`, copied by `body`; leaves the new field in pending_.
  template <typename Body>
  bool inner(std::uint32_t tag, Body&& body) {
    int length = 0;
    if (!in_.ReadVarintSizeAsInt(&length)) {
      damaged(path_);
    }
    const auto limit = in_.PushLimit(length);
    const std::string content = body();
    if (in_.BytesUntilLimit() != 0) {
      damaged(path_);
    }
    in_.PopLimit(limit);
    std::string field;
    {
      pb::io::StringOutputStream stream(&field);
      pb::io::CodedOutputStream coded(&stream);
      coded.WriteTag(tag);
      coded.WriteVarint32(static_cast<std::uint32_t>(content.size()));
      coded.WriteString(content);
    }
    pending_ = std::move(field);
    return true;
  }

  std::string graph() {
    return copy([&](std::uint32_t tag) {
      if (is_message(tag, kGraphInitializer)) {
        dense.emplace_back();
        return inner(tag, [&] { return tensor(dense.back()); });
      }
      if (is_message(tag, kGraphSparse)) {
        sparse.emplace_back();
        return inner(tag, [&] { return sparse_tensor(sparse.back()); });
      }
      return false;
    });
  }

  std::string sparse_tensor(Sparse& found) {
    return copy([&](std::uint32_t tag) {
      return is_message(tag, kSparseValues)    ? inner(tag, [&] { return tensor(found.values); })
             : is_message(tag, kSparseIndices) ? inner(tag, [&] { return tensor(found.indices); })
                                               : false;
    });
  }

  std::string tensor(OnnxModel::Elements& found) {
    return copy([&](std::uint32_t tag) {
      const int field = WireFormatLite::GetTagFieldNumber(tag);
      if ((field != kRawData && field != kFloatData && field != kDoubleData) ||
          !is_message(tag, field)) {
        return false;
      }
      int length = 0;
      if (found.field != 0 || !in_.ReadVarintSizeAsInt(&length)) {
        damaged(path_);
      }
      const std::int64_t begin = in_.CurrentPosition();
      if (!in_.Skip(length)) {
        damaged(path_);
      }
      found = {{begin, begin + length}, field};
      return true;
    });
  }

  const std::string& path_;
  pb::io::CodedInputStream& in_;
  std::string pending_;
};

// Elements that protobuf keeps as numbers of its own.
class MemoryBytes : public ByteSource {
 public:
  explicit MemoryBytes(std::string bytes) : bytes_(std::move(bytes)) {}
  std::int64_t size() const override { return std::ssize(bytes_); }
  void read(std::int64_t position, std::span<std::byte> out) const override {
    expects(position >= 0 && position + std::ssize(out) <= size(), "elements are in memory");
    std::memcpy(out.data(), bytes_.data() + position, out.size());
  }

 private:
  std::string bytes_;
};

template <typename T, typename Field>
std::string packed(const Field& field) {
  std::string out;
  for (const auto value : field) {
    const T element = static_cast<T>(value);
    out.append(reinterpret_cast<const char*>(&element), sizeof(element));
  }
  return out;
}

// The bytes of elements that are part of the message.
std::string bytes_of(const TensorProto& tensor) {
  if (tensor.has_raw_data()) {
    return tensor.raw_data();
  }
  switch (tensor.data_type()) {
    case TensorProto::FLOAT:
      return packed<float>(tensor.float_data());
    case TensorProto::DOUBLE:
      return packed<double>(tensor.double_data());
    case TensorProto::INT64:
      return packed<std::int64_t>(tensor.int64_data());
    case TensorProto::UINT32:
      return packed<std::uint32_t>(tensor.uint64_data());
    case TensorProto::UINT64:
      return packed<std::uint64_t>(tensor.uint64_data());
    case TensorProto::INT32:
      return packed<std::int32_t>(tensor.int32_data());
    case TensorProto::INT16:
    case TensorProto::UINT16:
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
      return packed<std::uint16_t>(tensor.int32_data());
    default:
      return packed<std::uint8_t>(tensor.int32_data());
  }
}

ElementType type_of(const std::string& where, int data_type) {
  switch (data_type) {
    case TensorProto::FLOAT:
      return kFloat32;
    case TensorProto::DOUBLE:
      return kFloat64;
    case TensorProto::FLOAT16:
      return {ElementClass::kFloat, 2};
    case TensorProto::BFLOAT16:
      return kBfloat16;
    case TensorProto::UINT8:
    case TensorProto::BOOL:
      return kUint8;
    case TensorProto::UINT16:
      return kUint16;
    case TensorProto::UINT32:
      return kUint32;
    case TensorProto::UINT64:
      return kUint64;
    case TensorProto::INT8:
      return {ElementClass::kSigned, 1};
    case TensorProto::INT16:
      return {ElementClass::kSigned, 2};
    case TensorProto::INT32:
      return {ElementClass::kSigned, 4};
    case TensorProto::INT64:
      return kInt64;
    default:
      refuse(where, text("has elements of ONNX type ", data_type,
                         ", right are float, double, float16, bfloat16 and integers"));
  }
}

// The entries of a sparse constant; its first dimension is the rows, the others the columns.
class SparseConstant : public MatrixSource {
 public:
  SparseConstant(StoredArray values, StoredArray indices, const std::vector<std::int64_t>& dims)
      : values_(std::move(values)), indices_(std::move(indices)), shape_(dims) {
    name = values_.name;
    rows = shape_.at(0);
    cols = 1;
    for (std::size_t d = 1; d < shape_.size(); ++d) {
      cols *= shape_[d];
    }
    stored = values_.shape.at(0);
    type = values_.type;
    check_shape(*this);
  }
  bool by_rows() const override { return false; }
  std::unique_ptr<EntryStream> entries(int part, int parts) const override {
    return std::make_unique<Stream>(*this, split_evenly(stored, parts, part));
  }

 private:
  class Stream : public EntryStream {
   public:
    Stream(const SparseConstant& source, Range range) : source_(source), range_(range) {}
    bool read(std::vector<Entry>& out) override {
      const std::int64_t count = std::min<std::int64_t>(range_.size(), kAtATime);
      const std::size_t depth = source_.indices_.shape.size() == 2 ? source_.shape_.size() : 1;
      std::vector<std::int64_t> indices(static_cast<std::size_t>(count) * depth);
      std::vector<float> values(static_cast<std::size_t>(count));
      source_.indices_.read(range_.begin * static_cast<std::int64_t>(depth), std::span(indices));
      source_.values_.read(range_.begin, std::span(values));
      for (std::size_t k = 0; k < values.size(); ++k) {
        const std::int64_t place = linear(std::span(indices).subspan(k * depth, depth));
        if (place < 0 || place >= source_.rows * source_.cols || !std::isfinite(values[k])) {
          refuse(source_.name, text("entry ", range_.begin + static_cast<std::int64_t>(k),
                                    " lies outside the tensor, or is not finite"));
        }
        out.push_back({static_cast<std::uint32_t>(place / source_.cols),
                       static_cast<std::uint32_t>(place % source_.cols), values[k]});
      }
      range_.begin += count;
      passed_ += count;
      return count > 0;
    }
    std::int64_t passed() const override { return passed_; }

   private:
    std::int64_t linear(std::span<const std::int64_t> index) const {
      if (index.size() == 1) {
        return index[0];
      }
      std::int64_t place = 0;
      for (std::size_t d = 0; d < index.size(); ++d) {
        if (index[d] < 0 || index[d] >= source_.shape_[d]) {
          return -1;
        }
        place = place * source_.shape_[d] + index[d];
      }
      return place;
    }
    const SparseConstant& source_;
    Range range_;
    std::int64_t passed_ = 0;
  };

  StoredArray values_, indices_;
  std::vector<std::int64_t> shape_;
};

std::vector<std::int64_t> dims_of(const pb::RepeatedField<pb::int64>& dims) {
  return {dims.begin(), dims.end()};
}

}  // namespace

OnnxModel::OnnxModel(const std::string& path)
    : path_(path), file_(std::make_shared<const InputFile>(path)), files_{path} {
  if (file_->size() >= std::numeric_limits<int>::max()) {
    refuse(path_, "has 2 GiB or more, which no ONNX file may have; larger tensors lie beside it");
  }
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    throw_errno(errno, "opening", path_, ExitStatus::kNoInput);
  }
  pb::io::FileInputStream stream(descriptor);
  stream.SetCloseOnDelete(true);
  pb::io::CodedInputStream in(&stream);
  Skeleton skeleton(path_, in);
  const std::string bytes = skeleton.model();
  if (!model_.ParseFromString(bytes) || !model_.has_graph()) {
    damaged(path_);
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
    const Skeleton::Sparse& elements = skeleton.sparse[static_cast<std::size_t>(k)];
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

StoredArray OnnxModel::open(const TensorProto& tensor, const Elements& elements,
                            const std::vector<std::int64_t>& shape) const {
  StoredArray array;
  array.name = text(path_, ": ", in_quotes(tensor.name(), 80));
  array.type = type_of(array.name, tensor.data_type());
  array.shape = shape;
  if (tensor.data_location() == TensorProto::EXTERNAL) {
    open_external(tensor, array);
    return array;
  }
  const bool fits = elements.field == 0 || elements.field == kRawData ||
                    (elements.field == kFloatData && array.type == kFloat32) ||
                    (elements.field == kDoubleData && array.type == kFloat64);
  if (!fits) {
    refuse(array.name, "has its elements in a field of another type");
  }
  if (elements.field != 0) {
    array.bytes = std::make_shared<FileBytes>(file_, elements.bytes);
  } else {
    array.bytes = std::make_shared<MemoryBytes>(bytes_of(tensor));
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
  auto source =
      std::make_unique<SparseConstant>(std::move(values), std::move(indices), found.shape);
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
