// An ONNX file without the elements of its tensors; for the sources of io that know ONNX.
#pragma once

#include <string>
#include <vector>

#include "framework/shard.hpp"

namespace espalier::io {

// Where a tensor's elements lie in the file, and in which field.
struct OnnxElements {
  static constexpr int kFloatData = 4, kRawData = 9, kDoubleData = 10;  // as onnx.proto has them
  Range bytes;
  int field = 0;  // 0: the elements are in the message
};

struct OnnxSkeleton {
  struct Sparse {
    OnnxElements values, indices;
  };
  std::string message;  // an onnx::ModelProto
  // Of the graph's initializers, in their order.
  std::vector<OnnxElements> dense;
  std::vector<Sparse> sparse;
};

//   where    local
//   throws   Error: kNoInput, kNoPermission; kBadData if it is damaged or truncated
//   cost     one pass that skips elements
OnnxSkeleton read_onnx_skeleton(const std::string& path);

// Says that a file is no ONNX model.
//   throws   Error(kBadData) always
[[noreturn]] void refuse_onnx_file(const std::string& path);

}  // namespace espalier::io
