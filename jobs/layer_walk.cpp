#include "jobs/layer_walk.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/error.hpp"
#include "framework/parallel.hpp"
#include "jobs/plan.hpp"
#include "jobs/spelling.hpp"
#include "kernels/samples.hpp"
#include "kernels/spmm.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;
// A weight while its layer is read and packed: both forms at once.
constexpr std::int64_t kWeightBytes = 24;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

Panels::Panels(std::int64_t rows_of, std::int64_t samples_of)
    : rows(rows_of), samples(samples_of), values(to_size(rows_of * panels() * kWidth)) {}

std::int64_t Panels::panels() const noexcept { return (samples + kWidth - 1) / kWidth; }

float* Panels::panel(std::int64_t number) noexcept {
  return values.data() + number * rows * kWidth;
}

const float* Panels::panel(std::int64_t number) const noexcept {
  return values.data() + number * rows * kWidth;
}

float Panels::at(std::int64_t row, std::int64_t sample) const noexcept {
  return panel(sample / kWidth)[row * kWidth + sample % kWidth];
}

LayerWalk::LayerWalk(const io::NetworkReader& reader, std::int64_t features) : reader_(reader) {
  const io::Network& network = reader.network();
  const std::string& file = reader.data().catalog().file;
  if (!network.is_chain()) {
    throw Error(ExitStatus::kBadData,
                text(file,
                     ": its layers are no plain chain (see their `inputs`); only chains are "
                     "run layer by layer"));
  }
  if (network.inputs() != features) {
    throw Error(ExitStatus::kBadData, text(file, " takes ", network.inputs(),
                                           " inputs but the batch has ", features, " features"));
  }
  const io::FeatureScaling& scaling = network.scaling;
  const auto read = [&](bool present, const char* name) {
    return present ? reader.read_scaling(name) : std::vector<float>();
  };
  input_scale_ = read(scaling.input_scale, "input_scale");
  input_shift_ = read(scaling.input_shift, "input_shift");
  output_scale_ = read(scaling.output_scale, "output_scale");
  output_shift_ = read(scaling.output_shift, "output_shift");
}

std::int64_t LayerWalk::layers() const noexcept { return std::ssize(reader_.network().layers); }

// Inputs, sums and a copy of them: float32 for each neuron.
std::int64_t LayerWalk::sample_bytes() const {
  std::int64_t most = 0;
  for (const io::Layer& layer : reader_.network().layers) {
    most = std::max(most, layer.width() + 2 * layer.outputs());
  }
  return most * static_cast<std::int64_t>(sizeof(float));
}

std::int64_t LayerWalk::layer_bytes() const {
  std::int64_t most = 0;
  for (const io::Layer& layer : reader_.network().layers) {
    most = std::max(most, layer.connections() * kWeightBytes + layer.outputs() * 16);
  }
  return most;
}

std::int64_t LayerWalk::samples_at_a_time(const std::vector<const LayerWalk*>& walks,
                                          std::int64_t memory_per_rank) {
  std::int64_t fixed = kProgramBytes, each = 0;
  for (const LayerWalk* walk : walks) {
    fixed += walk->layer_bytes();
    each += walk->sample_bytes() + walk->reader_.network().inputs() * 12;
  }
  const std::int64_t samples = (memory_per_rank - fixed) / each / kWidth * kWidth;
  if (samples < kWidth) {
    throw Error(ExitStatus::kDoesNotFit,
                text("the largest layer and ", kWidth, " samples need ",
                     spelled_bytes(fixed + kWidth * each), ", but --memory-per-rank is ",
                     spelled_bytes(memory_per_rank)));
  }
  return samples;
}

Panels LayerWalk::start(const kernels::CsrRows& samples) const {
  Panels panels(samples.cols, samples.rows());
  parallel_for(panels.panels(), [&](std::int64_t number, int) {
    float* panel = panels.panel(number);
    for (std::int64_t feature = 0; feature < panels.rows; ++feature) {
      std::fill_n(panel + feature * kWidth, kWidth,
                  input_shift_.empty() ? 0.0F : input_shift_[to_size(feature)]);
    }
    const std::int64_t end = std::min((number + 1) * kWidth, panels.samples);
    for (std::int64_t sample = number * kWidth; sample < end; ++sample) {
      for (std::int64_t k = samples.pointers[to_size(sample)];
           k < samples.pointers[to_size(sample) + 1]; ++k) {
        const std::size_t feature = samples.indices[to_size(k)];
        const float scale = input_scale_.empty() ? 1.0F : input_scale_[feature];
        const float shift = input_shift_.empty() ? 0.0F : input_shift_[feature];
        panel[feature * to_size(kWidth) + to_size(sample % kWidth)] =
            samples.value(k) * scale + shift;
      }
    }
  });
  return panels;
}

kernels::PackedLayer LayerWalk::read_layer(std::int64_t layer) const {
  const io::Layer& of = reader_.network().layers[to_size(layer)];
  std::vector<std::uint32_t> inputs(to_size(of.width()));
  std::iota(inputs.begin(), inputs.end(), 0U);
  return kernels::pack_layer(reader_.read_connections(layer, {0, of.outputs()}), inputs, {}, {},
                             {.maximum = of.kind == io::LayerKind::kMaxPool});
}

Panels LayerWalk::multiply(const kernels::PackedLayer& layer, const Panels& in) {
  Panels out(layer.rows(), in.samples);
  parallel_for(out.panels(), [&](std::int64_t number, int) {
    std::uint32_t alive[kernels::kPanelWidth] = {};
    kernels::spmm(layer, in.panel(number), out.panel(number), 0, layer.rows(), alive);
  });
  return out;
}

void LayerWalk::finish(std::int64_t layer, std::int64_t first_sample, Panels& sums) const {
  const io::Layer& of = reader_.network().layers[to_size(layer)];
  std::vector<float> bias = reader_.read_neuron_bias(layer, {0, of.outputs()});
  if (bias.size() == 1) {
    bias.assign(to_size(of.outputs()), bias[0]);
  }
  finish(layer, first_sample, bias, sums);
}

void LayerWalk::finish(std::int64_t layer, std::int64_t first_sample,
                       const std::vector<float>& bias, Panels& sums) const {
  const io::Layer& of = reader_.network().layers[to_size(layer)];
  parallel_for(sums.panels(), [&](std::int64_t number, int) {
    kernels::apply_epilogue(sums.panel(number), sums.rows, bias, of.epilogue);
  });
  if (layer + 1 == layers()) {
    finish_samples(sums);
  }
  for (std::int64_t sample = 0; sample < sums.samples; ++sample) {
    for (std::int64_t row = 0; row < sums.rows; ++row) {
      if (!std::isfinite(sums.at(row, sample))) {
        throw Error(ExitStatus::kBadData,
                    text(reader_.data().catalog().file, ": layer ", layer, ", neuron ", row,
                         " puts out ", sums.at(row, sample), " for sample ", first_sample + sample,
                         "; finite outputs would be right"));
      }
    }
  }
}

void LayerWalk::finish_samples(Panels& outputs) const {
  const bool softmax =
      reader_.network().layers.back().epilogue.activation == kernels::Activation::kSoftmax;
  parallel_for(outputs.panels(), [&](std::int64_t number, int) {
    float* panel = outputs.panel(number);
    std::vector<float> sample(to_size(outputs.rows));
    for (std::int64_t column = 0; column < kWidth; ++column) {
      for (std::size_t row = 0; row < sample.size(); ++row) {
        sample[row] = panel[row * to_size(kWidth) + to_size(column)];
      }
      if (softmax) {
        kernels::softmax(sample);
      }
      for (std::size_t row = 0; row < sample.size(); ++row) {
        const float scale = output_scale_.empty() ? 1.0F : output_scale_[row];
        const float shift = output_shift_.empty() ? 0.0F : output_shift_[row];
        panel[row * to_size(kWidth) + to_size(column)] = sample[row] * scale + shift;
      }
    }
  });
}

std::vector<float> outputs_of(const Panels& outputs, std::int64_t sample) {
  std::vector<float> values(to_size(outputs.rows));
  for (std::size_t row = 0; row < values.size(); ++row) {
    values[row] = outputs.at(static_cast<std::int64_t>(row), sample);
  }
  return values;
}

}  // namespace espalier::jobs
