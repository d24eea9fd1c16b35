// What a node of an ONNX model says besides its inputs; for io's own sources.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/onnx_model.hpp"

namespace espalier::io {

// A node's attributes, with what ONNX says where they are absent.
class OnnxAttributes {
 public:
  explicit OnnxAttributes(const onnx::NodeProto& node) : node_(node) {}
  std::int64_t integer(const std::string& name, std::int64_t otherwise) const {
    const auto* found = find(name);
    return found != nullptr ? found->i() : otherwise;
  }
  float number(const std::string& name, float otherwise) const {
    const auto* found = find(name);
    return found != nullptr ? found->f() : otherwise;
  }
  std::string word(const std::string& name, const std::string& otherwise) const {
    const auto* found = find(name);
    return found != nullptr ? found->s() : otherwise;
  }
  std::vector<std::int64_t> integers(const std::string& name,
                                     std::vector<std::int64_t> otherwise) const {
    const auto* found = find(name);
    return found != nullptr ? std::vector<std::int64_t>(found->ints().begin(), found->ints().end())
                            : otherwise;
  }
  const onnx::AttributeProto* find(const std::string& name) const {
    for (const auto& attribute : node_.attribute()) {
      if (attribute.name() == name) {
        return &attribute;
      }
    }
    return nullptr;
  }

 private:
  const onnx::NodeProto& node_;
};

}  // namespace espalier::io
