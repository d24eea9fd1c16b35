// The structure of an ONNX file without the elements of its tensors: those stay where they lie.
// For the files of io that know ONNX; everybody else takes io/onnx.hpp.
#pragma once

#ifndef ONNX_ML
#define ONNX_ML 1  // the flavour of the messages that is installed
#endif
#include <onnx/onnx_pb.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/matrix_source.hpp"
#include "io/onnx_skeleton.hpp"
#include "io/stored_array.hpp"

namespace espalier::io {

// Local. A file of 2 GiB at most, as protobuf has it; more lies in files beside it.
class OnnxModel {
 public:
  // Reads all but the elements of the graph's initializers.
  //   throws   Error: kNoInput, kNoPermission, kBadData if it is no ONNX model or damaged
  explicit OnnxModel(const std::string& path);

  const std::string& path() const noexcept { return path_; }
  const onnx::GraphProto& graph() const noexcept { return model_.graph(); }

  bool is_constant(const std::string& name) const;
  // Makes a tensor that a node carries a constant of that name.
  void add_constant(const std::string& name, const onnx::TensorProto& tensor);

  // A dense constant.
  //   throws   Error(kBadData) naming file and tensor: sizes that do not fit, an element type that
  //            is no number, data outside the file or the model's folder
  StoredArray array(const std::string& name) const;
  // A constant, dense or sparse, as a matrix: all dimensions but the first become columns.
  std::unique_ptr<MatrixSource> matrix(const std::string& name) const;
  std::vector<std::int64_t> shape(const std::string& name) const;
  // All elements of a small constant.
  std::vector<float> floats(const std::string& name) const;
  std::vector<std::int64_t> integers(const std::string& name) const;

  // The model's file and those beside it that tensors named so far lie in.
  const std::vector<std::string>& files() const noexcept { return files_; }

 private:
  struct Constant {
    const onnx::TensorProto* tensor = nullptr;
    OnnxElements elements;
    const onnx::TensorProto* indices = nullptr;  // of a sparse one
    OnnxElements index_elements;
    std::vector<std::int64_t> shape;
  };
  const Constant& constant(const std::string& name) const;
  StoredArray open(const onnx::TensorProto& tensor, const OnnxElements& elements,
                   const std::vector<std::int64_t>& shape) const;
  void open_external(const onnx::TensorProto& tensor, StoredArray& array) const;

  std::string path_;
  std::shared_ptr<const InputFile> file_;
  onnx::ModelProto model_;
  std::map<std::string, Constant> constants_;
  mutable std::vector<std::string> files_;
};

}  // namespace espalier::io
