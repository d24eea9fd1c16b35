// Where the weights of layers are read from, whatever holds them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "io/network_file.hpp"

namespace espalier::io {

// Local, independent reads of layers: of a network file, or of the tensors of a model.
//   throws   Error: kIoFailed, kBadData naming file, layer and place
class LayerReader {
 public:
  virtual ~LayerReader() = default;
  virtual const std::string& file() const noexcept = 0;  // for messages
  // Of a model: its tensors as dense layers, without a graph.
  virtual const Network& network() const noexcept = 0;
  virtual std::int64_t nnz_before(std::int64_t layer, std::int64_t row) const = 0;
  virtual kernels::CsrRows read_rows(std::int64_t layer, Range rows) const = 0;
  // Elements [first, first + out.size()) of a dense layer (DMAT), row-major; not looked at.
  virtual void read_dense(std::int64_t layer, std::int64_t first, std::span<float> out) const = 0;
  virtual std::int64_t bytes_read() const noexcept = 0;
};

// The layers of a network file; borrows its reader.
class NetworkLayers final : public LayerReader {
 public:
  explicit NetworkLayers(const NetworkReader& reader) : reader_(reader) {}
  const std::string& file() const noexcept override { return reader_.data().catalog().file; }
  const Network& network() const noexcept override { return reader_.network(); }
  std::int64_t nnz_before(std::int64_t layer, std::int64_t row) const override {
    return reader_.nnz_before(layer, row);
  }
  kernels::CsrRows read_rows(std::int64_t layer, Range rows) const override {
    return reader_.read_rows(layer, rows);
  }
  void read_dense(std::int64_t layer, std::int64_t first, std::span<float> out) const override {
    const MatrixInfo& weight = network().layers.at(static_cast<std::size_t>(layer)).weight;
    const DataFile& data = reader_.data();
    data.read(data.catalog().dataset(weight.group + "/values"), first, out);
  }
  std::int64_t bytes_read() const noexcept override { return reader_.data().bytes_read(); }

 private:
  const NetworkReader& reader_;
};

}  // namespace espalier::io
