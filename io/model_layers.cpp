#include "io/model_layers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {
namespace {

// Elements that are converted at a time.
constexpr std::int64_t kStretch = INT64_C(1) << 16;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

bool is_weight(const Tensor& tensor) {
  return weight_type_of(tensor.dtype) && tensor.shape.size() >= 2 && tensor.bytes > 0;
}

}  // namespace

ModelReader::ModelReader(const Model& model) : model_(model) {
  constexpr std::int64_t kMostCols = std::numeric_limits<std::uint32_t>::max();
  for (std::size_t f = 0; f < model.files.size(); ++f) {
    files_.push_back(std::make_unique<InputFile>(model.files[f].path));
    const std::vector<Tensor>& tensors = model.files[f].header.tensors;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      if (!is_weight(tensors[t]) || tensors[t].count() / tensors[t].shape[0] > kMostCols) {
        continue;
      }
      Layer layer;
      layer.name = tensors[t].name;
      layer.weight.group = tensors[t].name;
      layer.weight.format = MatrixFormat::kDmat;
      layer.weight.rows = tensors[t].shape[0];
      layer.weight.stored = tensors[t].count();
      layer.weight.cols = layer.weight.stored / layer.weight.rows;
      types_.push_back(*weight_type_of(tensors[t].dtype));
      layer.weight.value_type = value_type_of(types_.back());
      network_.layers.push_back(std::move(layer));
      places_.push_back({f, t});
    }
  }
}

std::int64_t ModelReader::nnz_before(std::int64_t layer, std::int64_t row) const {
  return row * network_.layers.at(to_size(layer)).weight.cols;
}

void ModelReader::read_bytes(std::size_t file, std::int64_t position,
                             std::span<std::byte> out) const {
  files_.at(file)->read(position, out);
  bytes_read_ += std::ssize(out);
}

void ModelReader::read_stored(std::int64_t layer, std::int64_t first,
                              std::span<std::byte> out) const {
  const TensorPlace at = place(layer);
  read_bytes(at.file, model_.position(at) + first * bytes_of(type(layer)), out);
}

void ModelReader::will_read(std::int64_t layer, Range elements) const {
  const TensorPlace at = place(layer);
  const std::int64_t width = bytes_of(type(layer));
  files_.at(at.file)->will_read(model_.position(at) + elements.begin * width,
                                elements.size() * width);
}

void ModelReader::read_dense(std::int64_t layer, std::int64_t first, std::span<float> out) const {
  const WeightType kind = type(layer);
  std::vector<std::byte> stored(to_size(std::min(kStretch, std::ssize(out)) * bytes_of(kind)));
  for (std::int64_t done = 0; done < std::ssize(out); done += kStretch) {
    const auto part =
        out.subspan(to_size(done), to_size(std::min(kStretch, std::ssize(out) - done)));
    const auto bytes = std::span(stored).first(part.size() * to_size(bytes_of(kind)));
    read_stored(layer, first + done, bytes);
    to_floats(kind, bytes, part);
  }
}

kernels::CsrRows ModelReader::read_rows(std::int64_t layer, Range rows) const {
  const std::int64_t cols = network_.layers.at(to_size(layer)).weight.cols;
  kernels::CsrRows found;
  found.first_row = rows.begin;
  found.cols = cols;
  found.pointers.assign(1, 0);
  std::vector<float> buffer(to_size(std::min(cols, kStretch)));
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for (std::int64_t column = 0; column < cols;) {
      const auto part =
          std::span(buffer).first(to_size(std::min(std::ssize(buffer), cols - column)));
      read_dense(layer, row * cols + column, part);
      for (const float value : part) {
        if (!std::isfinite(value)) {
          refuse_not_finite(layer, {row * cols, (row + 1) * cols});
        }
        if (value != 0) {
          found.indices.push_back(static_cast<std::uint32_t>(column));
          found.values.push_back(value);
        }
        ++column;
      }
    }
    found.pointers.push_back(std::ssize(found.indices));
  }
  return found;
}

void ModelReader::refuse_not_finite(std::int64_t layer, Range elements) const {
  const MatrixInfo& weight = network_.layers.at(to_size(layer)).weight;
  std::vector<float> buffer(to_size(kStretch));
  for (std::int64_t at = elements.begin; at < elements.end; at += kStretch) {
    const auto part = std::span(buffer).first(to_size(std::min(kStretch, elements.end - at)));
    read_dense(layer, at, part);
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (!std::isfinite(part[i])) {
        const std::int64_t position = at + static_cast<std::int64_t>(i);
        throw Error(
            ExitStatus::kBadData,
            text(model_.files[place(layer).file].path, ": tensor ", io::in_quotes(weight.group),
                 ", row ", position / weight.cols, ", column ", position % weight.cols,
                 ": the weight is ", part[i], "; a finite number (as float32) would be right"));
      }
    }
  }
  throw BugError("a weight that is not finite is found again");
}

}  // namespace espalier::io
