#include "io/onnx_skeleton.hpp"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {
namespace {

namespace pb = google::protobuf;
using pb::internal::WireFormatLite;

// Numbers of fields, as onnx.proto has them.
constexpr int kModelGraph = 7;
constexpr int kGraphInitializer = 5, kGraphSparse = 15;
constexpr int kSparseValues = 1, kSparseIndices = 2;

bool is_message(std::uint32_t tag, int field) {
  return WireFormatLite::GetTagFieldNumber(tag) == field &&
         WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
}

// Copies messages without the elements of their tensors.
class Copier {
 public:
  Copier(const std::string& path, pb::io::CodedInputStream& in) : path_(path), in_(in) {}

  OnnxSkeleton model() {
    found_.message = copy([&](std::uint32_t tag) {
      return is_message(tag, kModelGraph) ? inner(tag, [&] { return graph(); }) : false;
    });
    return std::move(found_);
  }

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
          refuse_onnx_file(path_);
        }
      }
      if (!in_.ConsumedEntireMessage()) {
        refuse_onnx_file(path_);
      }
    }
    return out;
  }

  // The message inside the field `tag`, copied by `body`; leaves the new field in pending_.
  template <typename Body>
  bool inner(std::uint32_t tag, Body&& body) {
    int length = 0;
    if (!in_.ReadVarintSizeAsInt(&length)) {
      refuse_onnx_file(path_);
    }
    const auto limit = in_.PushLimit(length);
    const std::string content = body();
    if (in_.BytesUntilLimit() != 0) {
      refuse_onnx_file(path_);
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
        found_.dense.emplace_back();
        return inner(tag, [&] { return tensor(found_.dense.back()); });
      }
      if (is_message(tag, kGraphSparse)) {
        found_.sparse.emplace_back();
        return inner(tag, [&] { return sparse_tensor(found_.sparse.back()); });
      }
      return false;
    });
  }

  std::string sparse_tensor(OnnxSkeleton::Sparse& found) {
    return copy([&](std::uint32_t tag) {
      return is_message(tag, kSparseValues)    ? inner(tag, [&] { return tensor(found.values); })
             : is_message(tag, kSparseIndices) ? inner(tag, [&] { return tensor(found.indices); })
                                               : false;
    });
  }

  std::string tensor(OnnxElements& found) {
    return copy([&](std::uint32_t tag) {
      const int field = WireFormatLite::GetTagFieldNumber(tag);
      if ((field != OnnxElements::kRawData && field != OnnxElements::kFloatData &&
           field != OnnxElements::kDoubleData) ||
          !is_message(tag, field)) {
        return false;
      }
      int length = 0;
      if (found.field != 0 || !in_.ReadVarintSizeAsInt(&length)) {
        refuse_onnx_file(path_);
      }
      const std::int64_t begin = in_.CurrentPosition();
      if (!in_.Skip(length)) {
        refuse_onnx_file(path_);
      }
      found = {{begin, begin + length}, field};
      return true;
    });
  }

  const std::string& path_;
  pb::io::CodedInputStream& in_;
  std::string pending_;
  OnnxSkeleton found_;
};

}  // namespace

OnnxSkeleton read_onnx_skeleton(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    throw_errno(errno, "opening", path, ExitStatus::kNoInput);
  }
  pb::io::FileInputStream stream(descriptor);
  stream.SetCloseOnDelete(true);
  pb::io::CodedInputStream in(&stream);
  return Copier(path, in).model();
}

void refuse_onnx_file(const std::string& path) {
  throw Error(ExitStatus::kBadData, path + ": is no ONNX model, or it is damaged or truncated");
}

}  // namespace espalier::io
