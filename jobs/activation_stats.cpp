#include "jobs/activation_stats.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/weight_type.hpp"

namespace espalier::jobs {
namespace {

constexpr std::string_view kWeight = ".weight";

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

ActivationStats::ActivationStats(const Comm& comm, const std::string& file)
    : model_(io::read_model(comm, {file})) {
  locally(comm, "opening " + file, [&] {
    if (model_.files.size() != 1) {
      throw Error(ExitStatus::kBadData,
                  text(file, ": has ", model_.files.size(), " files, one would be right"));
    }
    file_ = std::make_unique<io::InputFile>(model_.files[0].path);
  });
}

const io::Tensor* ActivationStats::find(const std::string& layer, const std::string& what) const {
  const io::TensorHeader& header = model_.files[0].header;
  const io::Tensor* found = header.find(layer + "." + what);
  if (found == nullptr && layer.ends_with(kWeight)) {
    return header.find(layer.substr(0, layer.size() - kWeight.size()) + "." + what);
  }
  return found != nullptr ? found : header.find(layer + std::string(kWeight) + "." + what);
}

const io::Tensor& ActivationStats::need(const std::string& layer, const std::string& what,
                                        const std::vector<std::int64_t>& shape) const {
  const io::Tensor* found = find(layer, what);
  if (found == nullptr) {
    throw Error(ExitStatus::kBadData, text(file(), ": has no tensor ", layer, ".", what,
                                           ", which would be right for layer ", layer));
  }
  if (!io::weight_type_of(found->dtype) || found->shape != shape) {
    throw Error(ExitStatus::kBadData,
                text(file(), ": tensor ", io::in_quotes(found->name, 100), " is ", found->dtype,
                     " ", nlohmann::json(found->shape).dump().substr(0, 80), "; F32 ",
                     nlohmann::json(shape).dump(), " would be right"));
  }
  return *found;
}

std::vector<float> ActivationStats::read(const io::Tensor& tensor, std::int64_t first,
                                         std::int64_t count) const {
  const io::WeightType type = *io::weight_type_of(tensor.dtype);
  const std::int64_t width = io::bytes_of(type);
  std::vector<std::byte> stored(to_size(count * width));
  file_->read(model_.files[0].header.data_start() + tensor.offset + first * width, stored);
  std::vector<float> values(to_size(count));
  io::to_floats(type, stored, values);
  const auto odd =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (odd != values.end()) {
    throw Error(ExitStatus::kBadData, text(file(), ": tensor ", io::in_quotes(tensor.name, 100),
                                           ", element ", first + (odd - values.begin()), " is ",
                                           *odd, "; a finite number would be right"));
  }
  return values;
}

std::vector<float> ActivationStats::norms(const std::string& layer, std::int64_t cols) const {
  std::vector<float> norms;
  const bool from_gram = find(layer, "norms") == nullptr && has_gram(layer);
  const io::Tensor& tensor =
      from_gram ? need(layer, "gram", {cols, cols}) : need(layer, "norms", {cols});
  if (from_gram) {
    for (std::int64_t j = 0; j < cols; ++j) {
      norms.push_back(read(tensor, j * cols + j, 1)[0]);
    }
  } else {
    norms = read(tensor, 0, cols);
  }
  for (std::size_t j = 0; j < norms.size(); ++j) {
    if (norms[j] < 0) {
      throw Error(ExitStatus::kBadData,
                  text(file(), ": tensor ", io::in_quotes(tensor.name, 100), " has ", norms[j],
                       " for input ", j, "; a number from 0 on would be right"));
    }
    norms[j] = from_gram ? std::sqrt(norms[j]) : norms[j];
  }
  return norms;
}

std::vector<float> ActivationStats::gram(const std::string& layer, std::int64_t cols,
                                         Range rows) const {
  expects(rows.begin >= 0 && rows.begin <= rows.end && rows.end <= cols,
          "rows of a Gram matrix are asked for");
  return read(need(layer, "gram", {cols, cols}), rows.begin * cols, rows.size() * cols);
}

}  // namespace espalier::jobs
