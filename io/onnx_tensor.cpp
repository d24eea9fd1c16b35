#include "io/onnx_tensor.hpp"

#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {
namespace {

using onnx::TensorProto;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ExitStatus::kBadData, where + ": " + what);
}

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

}  // namespace

ElementType onnx_element_type(const std::string& where, int data_type) {
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

std::shared_ptr<const ByteSource> onnx_message_bytes(const TensorProto& tensor) {
  return std::make_shared<MemoryBytes>(bytes_of(tensor));
}

std::unique_ptr<MatrixSource> sparse_constant(StoredArray values, StoredArray indices,
                                              const std::vector<std::int64_t>& dims) {
  return std::make_unique<SparseConstant>(std::move(values), std::move(indices), dims);
}

}  // namespace espalier::io
