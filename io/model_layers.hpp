// A model's weights, seen as the dense layers of a network without a graph.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/layer_reader.hpp"
#include "io/model.hpp"
#include "io/weight_type.hpp"

namespace espalier::io {

// Layers are the tensors of BF16, F16, F32 or F64 that have two dimensions or more and are not
// empty: the first dimension counts outputs, all others together are a row. They stand in the order
// of file names and, within a file, of their data; they bear their tensors' names.
// `model` is borrowed. Several threads may read at a time.
class ModelReader final : public LayerReader {
 public:
  //   throws   Error: kNoInput, kNoPermission
  explicit ModelReader(const Model& model);

  const Model& model() const noexcept { return model_; }
  const std::string& file() const noexcept override { return model_.place; }
  const Network& network() const noexcept override { return network_; }
  std::int64_t nnz_before(std::int64_t layer, std::int64_t row) const override;
  kernels::CsrRows read_rows(std::int64_t layer, Range rows) const override;
  void read_dense(std::int64_t layer, std::int64_t first, std::span<float> out) const override;
  std::int64_t bytes_read() const noexcept override { return bytes_read_; }

  TensorPlace place(std::int64_t layer) const {
    return places_.at(static_cast<std::size_t>(layer));
  }
  WeightType type(std::int64_t layer) const { return types_.at(static_cast<std::size_t>(layer)); }
  // Elements of a layer as they are stored, from element `first` on.
  void read_stored(std::int64_t layer, std::int64_t first, std::span<std::byte> out) const;
  // Any bytes of a file.
  void read_bytes(std::size_t file, std::int64_t position, std::span<std::byte> out) const;
  // Lets the system fetch elements that will be read soon.
  void will_read(std::int64_t layer, Range elements) const;
  // Names the first of these elements that is not finite.
  //   throws   Error(kBadData) always
  [[noreturn]] void refuse_not_finite(std::int64_t layer, Range elements) const;

 private:
  const Model& model_;
  Network network_;
  std::vector<TensorPlace> places_;  // by layer
  std::vector<WeightType> types_;
  std::vector<std::unique_ptr<InputFile>> files_;
  mutable std::atomic<std::int64_t> bytes_read_{0};
};

}  // namespace espalier::io
