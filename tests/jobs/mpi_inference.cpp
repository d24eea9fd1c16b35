// label: threads
// timeout: 180
// The infer job on random networks against the plain reference, on every grid of the ranks.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>

#include "framework/agree.hpp"
#include "framework/memory.hpp"
#include "framework/random.hpp"
#include "io/batch_file.hpp"
#include "io/network_file.hpp"
#include "io/result_file.hpp"
#include "jobs/job.hpp"
#include "jobs/sharded_network.hpp"
#include "kernels/reference.hpp"
#include "kernels/samples.hpp"

using namespace espalier;
using kernels::Activation;
using kernels::CsrRows;

namespace {

const Comm& world() {
  static const Comm comm(MPI_COMM_WORLD);
  return comm;
}

// A network, a batch and what they are made of, all in memory on every rank.
struct Case {
  io::Network network;
  std::vector<CsrRows> weights;
  std::vector<std::vector<float>> biases;
  std::vector<float> input_scale, input_shift, output_scale, output_shift;
  CsrRows features;
};

CsrRows random_rows(std::uint64_t seed, std::int64_t rows, std::int64_t cols, double density,
                    bool iso) {
  CsrRows csr;
  csr.cols = cols;
  csr.iso = iso;
  if (iso) {
    csr.values.push_back(0.0625F);
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    RandomStream random(seed, 0, static_cast<std::uint64_t>(row));
    for (std::int64_t col = 0; col < cols; ++col) {
      if (random.next_unit() <= density) {
        csr.indices.push_back(static_cast<std::uint32_t>(col));
        if (!iso) {
          csr.values.push_back(static_cast<float>(random.next_normal()));
        }
      }
    }
    csr.pointers.push_back(std::ssize(csr.indices));
  }
  return csr;
}

CsrRows part_of(const CsrRows& all, Range rows) {
  CsrRows part;
  part.cols = all.cols;
  const std::int64_t first = all.pointers[static_cast<std::size_t>(rows.begin)];
  const std::int64_t last = all.pointers[static_cast<std::size_t>(rows.end)];
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    part.pointers.push_back(all.pointers[static_cast<std::size_t>(row + 1)] - first);
  }
  part.indices.assign(all.indices.begin() + first, all.indices.begin() + last);
  part.values.assign(all.values.begin() + first, all.values.begin() + last);
  return part;
}

// `sources`: the layers that it reads; without them the one before.
void add_layer(Case& made, std::int64_t outputs, double density, const kernels::Epilogue& epilogue,
               bool iso, std::vector<std::int64_t> sources = {}) {
  const auto id = std::ssize(made.weights);
  if (sources.empty()) {
    sources = {id - 1};
  }
  std::int64_t inputs = 0;
  for (const std::int64_t source : sources) {
    inputs += source < 0 ? made.features.cols
                         : made.network.layers[static_cast<std::size_t>(source)].outputs();
  }
  made.weights.push_back(
      random_rows(static_cast<std::uint64_t>(100 + id), outputs, inputs, density, iso));
  RandomStream random(7, 1, static_cast<std::uint64_t>(id));
  std::vector<float> bias;
  for (std::int64_t row = 0; row < outputs; ++row) {
    bias.push_back(static_cast<float>(0.1 * random.next_normal()));
  }
  made.biases.push_back(bias);
  io::Layer layer;
  layer.name = text("layer-", id);
  layer.weight = {io::group_of_layer(id) + "/weight",
                  io::MatrixFormat::kCsr,
                  outputs,
                  inputs,
                  made.weights.back().nnz(),
                  iso};
  layer.bias = io::BiasKind::kFull;
  layer.epilogue = epilogue;
  layer.inputs = sources;
  made.network.layers.push_back(layer);
}

// Appends a layer of windows. Of a convolution a third of the filters is missing, and every fifth
// weight of the others is zero.
void add_window(Case& made, io::LayerKind kind, const kernels::Window& window,
                const kernels::Epilogue& epilogue, std::vector<std::int64_t> sources = {}) {
  const auto id = std::ssize(made.weights);
  if (sources.empty()) {
    sources = {id - 1};
  }
  io::Layer layer;
  layer.name = text("window-", id);
  layer.kind = kind;
  layer.window = window;
  layer.epilogue = epilogue;
  layer.inputs = sources;
  CsrRows weights;
  std::vector<float> bias;
  if (kind == io::LayerKind::kConvolution) {
    weights.cols = window.group_channels() * window.taps();
    for (std::int64_t channel = 0; channel < window.out_channels; ++channel) {
      RandomStream random(200 + static_cast<std::uint64_t>(id), 0,
                          static_cast<std::uint64_t>(channel));
      for (std::int64_t column = 0; column < weights.cols; ++column) {
        const auto value = static_cast<float>(0.5 * random.next_normal());
        if ((column / window.taps() + channel) % 3 != 1 && column % 5 != 2) {
          weights.indices.push_back(static_cast<std::uint32_t>(column));
          weights.values.push_back(value);
        }
      }
      weights.pointers.push_back(std::ssize(weights.indices));
      bias.push_back(static_cast<float>(0.1 * random.next_normal()));
    }
    layer.weight.format = io::MatrixFormat::kFilters;
    layer.weight.rows = window.out_channels;
    layer.weight.cols = weights.cols;
    layer.weight.filter_height = window.y.kernel;
    layer.weight.filter_width = window.x.kernel;
    layer.weight.stored = io::stored_values(layer.weight, weights);
    layer.bias = io::BiasKind::kFull;
  }
  made.weights.push_back(weights);
  made.biases.push_back(bias);
  made.network.layers.push_back(layer);
}

CsrRows part(const CsrRows& all, Range rows) {
  CsrRows mine;
  mine.first_row = rows.begin;
  mine.cols = all.cols;
  mine.iso = all.iso;
  const auto first = all.pointers[static_cast<std::size_t>(rows.begin)];
  const auto last = all.pointers[static_cast<std::size_t>(rows.end)];
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    mine.pointers.push_back(all.pointers[static_cast<std::size_t>(row + 1)] - first);
  }
  mine.indices.assign(all.indices.begin() + first, all.indices.begin() + last);
  mine.values = all.iso ? all.values
                        : std::vector<float>(all.values.begin() + first, all.values.begin() + last);
  return mine;
}

void write_case(const Case& made, const std::string& network, const std::string& batch) {
  io::NetworkWriter writer(world(), network, made.network, {"network", "test", {}, {}}, {true});
  for (std::size_t id = 0; id < made.weights.size(); ++id) {
    if (!made.network.layers[id].has_weights()) {
      continue;
    }
    const Range mine = split_evenly(made.weights[id].rows(), world().ranks(), world().rank());
    writer.write_layer(
        static_cast<std::int64_t>(id), part(made.weights[id], mine),
        std::span(made.biases[id])
            .subspan(static_cast<std::size_t>(mine.begin), static_cast<std::size_t>(mine.size())));
  }
  const auto write_scaling = [&](const char* name, const std::vector<float>& values) {
    if (!values.empty()) {
      writer.write_scaling(name, values);
    }
  };
  write_scaling("input_scale", made.input_scale);
  write_scaling("input_shift", made.input_shift);
  write_scaling("output_scale", made.output_scale);
  write_scaling("output_shift", made.output_shift);
  writer.finish();

  io::Batch shape;
  shape.features = {"/features",        io::MatrixFormat::kCsr, made.features.rows(),
                    made.features.cols, made.features.nnz(),    false};
  io::BatchWriter batch_writer(world(), batch, shape, {"batch", "test", {}, {}}, {true});
  const Range mine = split_evenly(made.features.rows(), world().ranks(), world().rank());
  batch_writer.write_samples(part(made.features, mine), {}, {});
  batch_writer.finish();
}

float at(const std::vector<float>& values, std::size_t i, float otherwise) {
  return values.empty() ? otherwise : values[i];
}

// A layer of windows by plain loops.
std::vector<double> window_outputs(const Case& made, std::size_t id,
                                   const std::vector<float>& panel) {
  const io::Layer& layer = made.network.layers[id];
  const kernels::Window& window = layer.window;
  const std::int64_t samples = made.features.rows();
  std::vector<double> out(panel.begin(), panel.end());
  if (layer.kind == io::LayerKind::kConvolution) {
    const CsrRows& weights = made.weights[id];
    std::vector<float> bank(static_cast<std::size_t>(weights.rows() * weights.cols), 0.0F);
    for (std::int64_t row = 0; row < weights.rows(); ++row) {
      for (auto k = weights.pointers[static_cast<std::size_t>(row)];
           k < weights.pointers[static_cast<std::size_t>(row) + 1]; ++k) {
        bank[static_cast<std::size_t>(row * weights.cols) +
             weights.indices[static_cast<std::size_t>(k)]] = weights.value(k);
      }
    }
    out = kernels::reference::convolve(window, bank, panel, samples);
  } else if (layer.kind != io::LayerKind::kFlatten) {
    out = kernels::reference::pool(window, layer.kind == io::LayerKind::kMaxPool, panel, samples);
  }
  const std::size_t each = static_cast<std::size_t>(window.positions() * samples);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double bias = at(made.biases[id], i / each, 0);
    out[i] = kernels::reference::activate(out[i] + bias, layer.epilogue);
  }
  return out;
}

// All outputs (samples x outputs) by the reference, each layer rounded to float32.
std::vector<double> expected_outputs(const Case& made) {
  const auto samples = made.features.rows();
  std::vector<float> panel(static_cast<std::size_t>(made.features.cols * samples));
  for (std::int64_t feature = 0; feature < made.features.cols; ++feature) {
    std::fill_n(panel.begin() + feature * samples, samples,
                at(made.input_shift, static_cast<std::size_t>(feature), 0));
  }
  for (std::int64_t sample = 0; sample < samples; ++sample) {
    for (auto k = made.features.pointers[static_cast<std::size_t>(sample)];
         k < made.features.pointers[static_cast<std::size_t>(sample + 1)]; ++k) {
      const std::size_t feature = made.features.indices[static_cast<std::size_t>(k)];
      panel[feature * static_cast<std::size_t>(samples) + static_cast<std::size_t>(sample)] =
          made.features.value(k) * at(made.input_scale, feature, 1) +
          at(made.input_shift, feature, 0);
    }
  }
  std::vector<std::vector<float>> all = {panel};  // the input, then the layers' outputs
  for (std::size_t id = 0; id < made.weights.size(); ++id) {
    panel.clear();
    for (const std::int64_t source : made.network.layers[id].inputs) {
      const std::vector<float>& part = all[static_cast<std::size_t>(source + 1)];
      panel.insert(panel.end(), part.begin(), part.end());
    }
    kernels::Epilogue epilogue = made.network.layers[id].epilogue;
    if (epilogue.activation == Activation::kSoftmax) {
      epilogue.activation = Activation::kIdentity;
    }
    const auto out =
        made.network.layers[id].kind == io::LayerKind::kConnections
            ? kernels::reference::spmm(made.weights[id], made.biases[id], epilogue, panel, samples)
            : window_outputs(made, id, panel);
    all.emplace_back(out.begin(), out.end());
  }
  panel = all.back();
  const std::size_t outputs = static_cast<std::size_t>(made.network.outputs());
  std::vector<double> result;
  for (std::size_t sample = 0; sample < static_cast<std::size_t>(samples); ++sample) {
    std::vector<float> row(outputs);
    for (std::size_t i = 0; i < outputs; ++i) {
      row[i] = panel[i * static_cast<std::size_t>(samples) + sample];
    }
    if (made.network.layers.back().epilogue.activation == Activation::kSoftmax) {
      kernels::softmax(row);
    }
    for (std::size_t i = 0; i < outputs; ++i) {
      result.push_back(row[i] * at(made.output_scale, i, 1) + at(made.output_shift, i, 0));
    }
  }
  return result;
}

std::string bytes_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

ExitStatus run(const std::vector<std::string>& arguments) {
  try {
    return jobs::run_program(world(), arguments);
  } catch (const SharedError& error) {
    BOOST_TEST_MESSAGE(error.what());
    return error.status();
  }
}

// Runs on every grid; checks against the reference once and for equal bytes always.
void check_on_all_grids(const Case& made, const std::string& name, const std::string& memory) {
  const std::string network = name + "-net.h5", batch = name + "-batch.h5";
  write_case(made, network, batch);
  const std::vector<double> expected = expected_outputs(made);
  std::string first_bytes;
  for (int shards = 1; shards <= world().ranks(); ++shards) {
    if (world().ranks() % shards != 0) {
      continue;
    }
    for (const char* threads : {"1", "2"}) {
      const std::string result = text(name, "-", shards, "-", threads, ".h5");
      const std::string grid = to_string(GridShape{shards, world().ranks() / shards});
      BOOST_TEST((run({"infer", network, batch, "-o", result, "--grid", grid, "--threads", threads,
                       "--memory-per-rank", memory, "--output", "full", "--top-k", "2", "--force",
                       "--quiet"}) == ExitStatus::kDone));
      const io::Catalog catalog = io::read_catalog(world(), result);
      const io::Result info = io::parse_result(catalog);
      const io::DataFile file(catalog);
      BOOST_TEST(info.samples == made.features.rows());
      const CsrRows rows = io::read_rows(file, *info.output, {0, info.samples});
      std::vector<float> dense(expected.size(), 0.0F);
      for (std::int64_t sample = 0; sample < rows.rows(); ++sample) {
        for (auto k = rows.pointers[static_cast<std::size_t>(sample)];
             k < rows.pointers[static_cast<std::size_t>(sample + 1)]; ++k) {
          dense[static_cast<std::size_t>(sample * rows.cols) +
                rows.indices[static_cast<std::size_t>(k)]] = rows.value(k);
        }
      }
      double worst = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        worst = std::max(worst, std::abs(dense[i] - expected[i]) / (1 + std::abs(expected[i])));
      }
      BOOST_TEST(worst < 2e-4);
      std::vector<std::int64_t> categories(static_cast<std::size_t>(info.categories));
      file.read(catalog.dataset("/categories"), 0, categories);
      std::vector<std::int64_t> nonzero;
      for (std::int64_t sample = 0; sample < rows.rows(); ++sample) {
        if (rows.pointers[static_cast<std::size_t>(sample + 1)] >
            rows.pointers[static_cast<std::size_t>(sample)]) {
          nonzero.push_back(sample);
        }
      }
      BOOST_TEST(categories == nonzero, boost::test_tools::per_element());
      const std::string bytes = bytes_of(result);
      BOOST_TEST(!bytes.empty());
      first_bytes = first_bytes.empty() ? bytes : first_bytes;
      BOOST_TEST((bytes == first_bytes), "same bytes on grid " << grid << ", threads " << threads);
    }
  }
}

kernels::Epilogue epilogue_of(Activation activation, bool bias_where_nonzero = false) {
  kernels::Epilogue epilogue;
  epilogue.activation = activation;
  epilogue.bias_where_nonzero = bias_where_nonzero;
  return epilogue;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(inference)

BOOST_AUTO_TEST_CASE(dying_samples_are_dropped_and_the_rest_is_right) {
  Case made;
  made.features = random_rows(1, 3000, 96, 0.1, false);
  for (float& value : made.features.values) {
    value = std::abs(value);
  }
  kernels::Epilogue relu = epilogue_of(Activation::kRelu, true);
  relu.has_clamp = true;
  relu.clamp = 32;
  for (int layer = 0; layer < 6; ++layer) {
    add_layer(made, 96, 0.3, relu, true);
    std::fill(made.biases.back().begin(), made.biases.back().end(), -0.1F);
  }
  const std::vector<double> expected = expected_outputs(made);
  const auto zeros = std::count(expected.begin(), expected.end(), 0.0);
  BOOST_TEST(zeros > 0);
  BOOST_TEST(zeros < std::ssize(expected));
  check_on_all_grids(made, "dying", "98MiB");   // layer by layer, waves of few panels
  check_on_all_grids(made, "waiting", "1GiB");  // depth first, blocks wait for each other
  check_on_all_grids(made, "waves", "100MiB");  // the same in several waves
}

BOOST_AUTO_TEST_CASE(every_activation_in_a_row) {
  Case made;
  made.features = random_rows(2, 130, 40, 0.5, false);
  std::int64_t outputs = 50;
  for (const Activation activation :
       {Activation::kRelu, Activation::kLeakyRelu, Activation::kElu, Activation::kGelu,
        Activation::kSilu, Activation::kTanh, Activation::kIdentity, Activation::kSigmoid}) {
    add_layer(made, outputs, 0.2, epilogue_of(activation), false);
    outputs -= 3;
  }
  check_on_all_grids(made, "activations", "1GiB");
}

// Layers that read others than the one before: the input again, one twice, in any order, and one
// that nobody reads.
BOOST_AUTO_TEST_CASE(skip_connections) {
  Case made;
  made.features = random_rows(5, 700, 24, 0.3, false);
  made.input_scale.assign(24, 0.5F);
  made.input_shift.assign(24, 0.125F);
  made.network.scaling.input_scale = made.network.scaling.input_shift = true;
  add_layer(made, 40, 0.3, epilogue_of(Activation::kRelu), false);
  add_layer(made, 30, 0.3, epilogue_of(Activation::kTanh), false, {-1, 0});
  add_layer(made, 7, 0.5, epilogue_of(Activation::kIdentity), false, {0});
  add_layer(made, 20, 0.2, epilogue_of(Activation::kSigmoid), true, {1, 0, 1});
  add_layer(made, 25, 0.3, epilogue_of(Activation::kGelu), false, {0, 3});
  add_layer(made, 11, 0.3, epilogue_of(Activation::kSoftmax), false, {4, -1, 1});
  check_on_all_grids(made, "skips", "1GiB");
  check_on_all_grids(made, "skips-waves", "98MiB");
}

BOOST_AUTO_TEST_CASE(samples_that_die_beside_skip_connections) {
  Case made;
  made.features = random_rows(6, 2000, 64, 0.1, false);
  for (float& value : made.features.values) {
    value = std::abs(value);
  }
  const kernels::Epilogue relu = epilogue_of(Activation::kRelu, true);
  for (int layer = 0; layer < 6; ++layer) {
    const bool skips = layer == 3 || layer == 5;
    add_layer(
        made, 48, 0.3, relu, true,
        skips ? std::vector<std::int64_t>{layer - 1, layer - 3} : std::vector<std::int64_t>{});
    std::fill(made.biases.back().begin(), made.biases.back().end(), -0.03F);
  }
  const std::vector<double> expected = expected_outputs(made);
  std::int64_t dead = 0;
  for (std::size_t sample = 0; sample < 2000; ++sample) {
    dead += std::all_of(expected.begin() + static_cast<std::int64_t>(sample) * 48,
                        expected.begin() + static_cast<std::int64_t>(sample + 1) * 48,
                        [](double value) { return value == 0; })
                ? 1
                : 0;
  }
  BOOST_TEST(dead > 100);
  BOOST_TEST(dead < 1900);
  check_on_all_grids(made, "dying-skips", "1GiB");
  check_on_all_grids(made, "dying-skips-waves", "98MiB");
}

BOOST_AUTO_TEST_CASE(recurrent_connections_are_refused) {
  Case made;
  made.features = random_rows(8, 5, 12, 0.5, false);
  for (int layer = 0; layer < 3; ++layer) {
    add_layer(made, 12, 0.5, epilogue_of(Activation::kTanh), false);
  }
  made.network.layers[1].inputs = {2};
  write_case(made, "recurrent-net.h5", "recurrent-batch.h5");
  BOOST_TEST((run({"infer", "recurrent-net.h5", "recurrent-batch.h5", "-o", "recurrent.h5",
                   "--quiet"}) == ExitStatus::kBadData));
}

BOOST_AUTO_TEST_CASE(softmax_and_scaling) {
  Case made;
  made.features = random_rows(3, 200, 30, 0.3, false);
  add_layer(made, 64, 0.3, epilogue_of(Activation::kGelu), false);
  add_layer(made, 10, 0.5, epilogue_of(Activation::kSoftmax), false);
  for (int i = 0; i < 30; ++i) {
    made.input_scale.push_back(0.5F + 0.01F * static_cast<float>(i));
    made.input_shift.push_back(i % 3 == 0 ? 0.25F : 0.0F);
  }
  made.output_scale.assign(10, 100.0F);
  made.output_shift.assign(10, -3.0F);
  made.network.scaling = {true, true, true, true};
  check_on_all_grids(made, "scaling", "1GiB");
}

BOOST_AUTO_TEST_CASE(convolution_pooling_and_flatten) {
  Case made;
  made.features = random_rows(5, 300, 2 * 11 * 9, 0.6, false);
  using io::LayerKind;
  const kernels::Epilogue relu = epilogue_of(Activation::kRelu), plain;
  // (2, 11, 9) -> (6, 6, 9) in 2 groups -> (6, 6, 5) -> (5, 2, 5) dilated -> (5, 2, 3) -> 30 -> 7
  add_window(made, LayerKind::kConvolution, {2, 6, 2, {11, 3, 2, 1, 1, 1}, {9, 3, 1, 1, 1, 1}},
             relu);
  add_window(made, LayerKind::kMaxPool, {6, 6, 6, {6, 3, 1, 1, 1, 1}, {9, 2, 2, 1, 0, 1}}, plain);
  add_window(made, LayerKind::kConvolution, {6, 5, 1, {6, 3, 1, 0, 0, 2}, {5, 1, 1, 0, 0, 1}},
             epilogue_of(Activation::kTanh));
  add_window(made, LayerKind::kAveragePool, {5, 5, 5, {2, 2, 2, 1, 1, 1}, {5, 3, 2, 1, 1, 1}, true},
             plain);
  add_window(made, LayerKind::kFlatten, {5, 5, 5, {2}, {3}}, plain);
  add_layer(made, 7, 0.6, relu, false);
  check_on_all_grids(made, "images", "1GiB");         // depth first
  check_on_all_grids(made, "images-waves", "98MiB");  // layer by layer
}

// Images whose channels are stacked, and neurons that pass by pooling, flatten and a convolution.
BOOST_AUTO_TEST_CASE(skip_connections_past_layers_of_windows) {
  Case made;
  made.features = random_rows(9, 300, 2 * 8 * 6, 0.6, false);
  using io::LayerKind;
  const kernels::Epilogue relu = epilogue_of(Activation::kRelu), plain;
  const kernels::WindowAxis high = {8, 3, 1, 1, 1, 1}, wide = {6, 3, 1, 1, 1, 1};
  add_window(made, LayerKind::kConvolution, {2, 4, 1, high, wide}, relu);  // (4, 8, 6)
  add_window(made, LayerKind::kMaxPool, {4, 4, 4, high, wide}, plain);     // (4, 8, 6)
  // Pooled channels on those before pooling on the network's input: (10, 8, 6) -> (3, 8, 6).
  add_window(made, LayerKind::kConvolution, {10, 3, 1, high, wide}, epilogue_of(Activation::kTanh),
             {1, 0, -1});
  add_window(made, LayerKind::kAveragePool, {3, 3, 3, {8, 2, 2, 0, 0, 1}, {6, 2, 2, 0, 0, 1}},
             plain);                                                  // (3, 4, 3)
  add_window(made, LayerKind::kFlatten, {3, 3, 3, {4}, {3}}, plain);  // 36
  add_layer(made, 9, 0.5, relu, false, {4, 1});                       // beside 192 pooled
  add_layer(made, 5, 0.5, epilogue_of(Activation::kSoftmax), false, {5, -1, 3});
  check_on_all_grids(made, "windows-skips", "1GiB");
  check_on_all_grids(made, "windows-skips-waves", "98MiB");
}

BOOST_AUTO_TEST_CASE(empty_layers_rows_samples_and_single_neurons) {
  for (const std::int64_t samples : {0, 1, 5}) {
    Case made;
    made.features = random_rows(4, samples, 3, 0.9, false);
    add_layer(made, 1, 1.0, epilogue_of(Activation::kRelu), false);
    add_layer(made, 2, 0.0, epilogue_of(Activation::kSigmoid), false);
    add_layer(made, 9, 0.4, epilogue_of(Activation::kIdentity, true), false);
    check_on_all_grids(made, text("tiny", samples), "1GiB");
  }
}

// Rows packed in pieces compute what one piece does, for ranges that cut through pieces too.
BOOST_AUTO_TEST_CASE(rows_in_pieces_equal_one_piece) {
  constexpr std::int64_t kWidth = kernels::kPanelWidth;
  const CsrRows rows = random_rows(5, 700, 90, 0.2, false);
  std::vector<std::uint32_t> inputs(90);
  std::iota(inputs.begin(), inputs.end(), 0U);
  jobs::ShardLayer whole, cut;
  whole.packed.add(kernels::pack_layer(rows, inputs, {}, {}));
  for (const Range piece : {Range{0, 256}, Range{256, 512}, Range{512, 700}}) {
    cut.packed.add(kernels::pack_layer(part_of(rows, piece), inputs, {}, {}));
  }
  BOOST_TEST(cut.packed.rows() == 700);
  BOOST_TEST(cut.packed.nnz() == rows.nnz());
  AlignedBuffer<float> in(90 * kWidth), expected(700 * kWidth), found(700 * kWidth);
  RandomStream random(6, 0, 0);
  std::generate_n(in.data(), in.size(), [&] { return static_cast<float>(random.next_normal()); });
  std::vector<std::uint32_t> bits(kWidth, 0), some_bits(kWidth, 0);
  jobs::compute_rows(whole, in.data(), expected.data(), {0, 700}, bits.data());
  for (const Range range : {Range{0, 100}, Range{100, 600}, Range{600, 700}}) {
    jobs::compute_rows(cut, in.data(), found.data(), range, some_bits.data());
  }
  BOOST_TEST(std::equal(found.data(), found.data() + found.size(), expected.data()));
  for (std::size_t column = 0; column < bits.size(); ++column) {
    BOOST_TEST((bits[column] != 0) == (some_bits[column] != 0));
  }
}

BOOST_AUTO_TEST_SUITE_END()
