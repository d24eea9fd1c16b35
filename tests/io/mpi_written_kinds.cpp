// label: full
// Networks, batches and results are read back as they were written, and their bytes are those that
// one process alone writes.
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "io/catalog.hpp"
#include "io/checksum.hpp"
#include "tests/io/made_files.hpp"
#include "tests/io/written_rows.hpp"

BOOST_AUTO_TEST_SUITE(io_written_kinds)

using namespace espalier;
using namespace espalier::tests;
using io::BiasKind;
using io::MatrixFormat;
using kernels::Activation;

namespace {

struct LayerPlan {
  io::Layer layer;
  RowRecipe recipe;
};

float bias_of(std::int64_t row) { return 0.25F * static_cast<float>(row % 7) - 0.5F; }

// Layers of every kind; the sizes cross the borders of 8- and 16-bit indices.
std::vector<LayerPlan> layer_plans() {
  struct Wanted {
    std::int64_t rows, cols;
    double density;
    bool iso;
    MatrixFormat format;
    BiasKind bias;
    Activation activation;
  };
  const std::vector<Wanted> wanted = {
      {300, 256, 0.05, false, MatrixFormat::kCsr, BiasKind::kFull, Activation::kRelu},
      {70000, 300, 0.001, true, MatrixFormat::kCsr, BiasKind::kIso, Activation::kLeakyRelu},
      {3, 70000, 0.5, false, MatrixFormat::kCoo, BiasKind::kNone, Activation::kElu},
      {257, 3, 0.4, true, MatrixFormat::kCoo, BiasKind::kFull, Activation::kGelu},
      {5, 257, 0, false, MatrixFormat::kCsr, BiasKind::kIso, Activation::kSilu},
      {4, 5, 0, true, MatrixFormat::kCoo, BiasKind::kNone, Activation::kSigmoid},
      {1, 4, 1, false, MatrixFormat::kDmat, BiasKind::kFull, Activation::kTanh},
      {1, 1, 1, true, MatrixFormat::kCsr, BiasKind::kIso, Activation::kIdentity},
      {2, 4, 1, false, MatrixFormat::kCsr, BiasKind::kFull, Activation::kSoftmax}};
  std::vector<LayerPlan> plans;
  for (const Wanted& want : wanted) {
    const auto id = std::ssize(plans);
    LayerPlan plan;
    plan.recipe = {static_cast<std::uint64_t>(id), want.cols, want.density, want.iso, false};
    plan.layer.name = text("l\u00e4yer ", id);
    plan.layer.weight = {io::group_of_layer(id) + "/weight", want.format, want.rows, want.cols,
                         nnz_of(plan.recipe, want.rows),     want.iso};
    plan.layer.bias = want.bias;
    plan.layer.epilogue.activation = want.activation;
    plan.layer.epilogue.alpha = want.activation == Activation::kElu ? 0.7F : 0.2F;
    plan.layer.epilogue.has_clamp = id % 2 == 1;
    plan.layer.epilogue.clamp = 32.5F;
    plan.layer.epilogue.bias_where_nonzero = id % 3 == 0;
    plan.layer.inputs = {id - 1};
    plans.push_back(plan);
  }
  // Skip connections: the last layer reads the last but one and layer 2; layer 0 is recurrent.
  plans.back().layer.inputs = {7, 2};
  plans.front().layer.inputs = {io::kNetworkInput, 4};
  return plans;
}

io::Network network_of(const std::vector<LayerPlan>& plans) {
  io::Network network;
  for (const LayerPlan& plan : plans) {
    network.layers.push_back(plan.layer);
  }
  network.scaling.input_shift = network.scaling.output_scale = true;
  return network;
}

std::vector<float> ramp(std::int64_t count) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(i) / 8);
  }
  return values;
}

void write_network(const Comm& comm, const std::string& path, std::uint64_t seed,
                   io::OutputOptions options = {}) {
  const auto plans = layer_plans();
  options.force = true;
  io::NetworkWriter writer(comm, path, network_of(plans), provenance_of("network"), options);
  writer.write_scaling("input_shift", ramp(network_of(plans).inputs()));
  writer.write_scaling("output_scale", ramp(network_of(plans).outputs()));
  for (std::size_t id = 0; id < plans.size(); ++id) {
    const io::Layer& layer = plans[id].layer;
    // Layers by halves show that a layer may come in several calls.
    const std::int64_t half = id % 2 == 0 ? layer.weight.rows : layer.weight.rows / 2;
    for (const Range part : {Range{0, half}, Range{half, layer.weight.rows}}) {
      Range rows = random_share(part.size(), comm, seed + id);
      rows = {part.begin + rows.begin, part.begin + rows.end};
      std::vector<float> bias;
      for (std::int64_t row = rows.begin; row < rows.end && layer.bias == BiasKind::kFull; ++row) {
        bias.push_back(bias_of(row));
      }
      if (layer.bias == BiasKind::kIso) {
        bias = {-0.3F};
      }
      writer.write_layer(static_cast<std::int64_t>(id), rows_of(plans[id].recipe, rows), bias);
    }
  }
  writer.finish();
}

void check_layer(const io::NetworkReader& reader, std::int64_t id, const LayerPlan& plan) {
  const io::Layer& found = reader.network().layers[static_cast<std::size_t>(id)];
  const io::Layer& layer = plan.layer;
  BOOST_TEST_CONTEXT("layer " << id) {
    BOOST_CHECK_EQUAL(found.name, layer.name);
    BOOST_CHECK(found.weight.format == layer.weight.format);
    BOOST_CHECK_EQUAL(found.weight.rows, layer.weight.rows);
    BOOST_CHECK_EQUAL(found.weight.cols, layer.weight.cols);
    BOOST_CHECK_EQUAL(found.weight.iso, layer.weight.iso && layer.weight.stored > 0);
    BOOST_CHECK(found.bias == layer.bias);
    BOOST_CHECK(found.epilogue.activation == layer.epilogue.activation);
    if (layer.epilogue.activation == Activation::kElu ||
        layer.epilogue.activation == Activation::kLeakyRelu) {
      BOOST_CHECK_EQUAL(found.epilogue.alpha, layer.epilogue.alpha);
    }
    BOOST_CHECK_EQUAL(found.epilogue.has_clamp, layer.epilogue.has_clamp);
    BOOST_CHECK_EQUAL(found.epilogue.clamp, layer.epilogue.has_clamp ? 32.5F : 0);
    BOOST_CHECK_EQUAL(found.epilogue.bias_where_nonzero, layer.epilogue.bias_where_nonzero);
    BOOST_CHECK(found.inputs == layer.inputs);

    const Range all{0, layer.weight.rows};
    BOOST_CHECK(equal_rows(reader.read_rows(id, all), rows_of(plan.recipe, all)));
    BOOST_CHECK_EQUAL(reader.nnz_before(id, layer.weight.rows),
                      layer.weight.format == MatrixFormat::kDmat
                          ? layer.weight.rows * layer.weight.cols
                          : layer.weight.stored);
    const Range part{layer.weight.rows / 3, layer.weight.rows};
    const auto bias = reader.read_bias(id, part);
    if (layer.bias == BiasKind::kFull) {
      BOOST_CHECK_EQUAL(std::ssize(bias), part.size());
      for (std::size_t i = 0; i < bias.size(); ++i) {
        BOOST_CHECK_EQUAL(bias[i], bias_of(part.begin + static_cast<std::int64_t>(i)));
      }
    } else {
      BOOST_CHECK(bias ==
                  (layer.bias == BiasKind::kIso ? std::vector{-0.3F} : std::vector<float>{}));
    }
  }
}

// A bank of 7 x (of 2 groups) 3 filters of 2 x 3 over 6 channels, pooled and flattened.
io::Network image_network(const RowRecipe& recipe, std::int64_t stored) {
  io::Network network;
  network.layers.resize(3);
  io::Layer& bank = network.layers[0];
  bank.kind = io::LayerKind::kConvolution;
  bank.weight = {"", MatrixFormat::kFilters, 8, recipe.cols, stored, false};
  bank.weight.filter_height = 2;
  bank.weight.filter_width = 3;
  bank.window = {6, 8, 2, {9, 2, 2, 1, 0, 3}, {7, 3, 1, 0, 2, 1}};
  bank.bias = BiasKind::kFull;
  io::Layer& pool = network.layers[1];
  pool.kind = io::LayerKind::kAveragePool;
  pool.window = {8, 8, 8, {4, 2, 2, 0, 1, 1}, {7, 3, 1, 1, 1, 1}, true};
  pool.epilogue.activation = Activation::kTanh;
  io::Layer& flat = network.layers[2];
  flat.kind = io::LayerKind::kFlatten;
  flat.window = {8, 8, 8, {2}, {7}};
  for (std::int64_t id = 0; id < 3; ++id) {
    network.layers[static_cast<std::size_t>(id)].inputs = {id - 1};
  }
  return network;
}

void write_images(const Comm& comm, const std::string& path, std::uint64_t seed,
                  const RowRecipe& recipe) {
  io::MatrixInfo matrix = image_network(recipe, 0).layers[0].weight;
  const std::int64_t stored = stored_values(matrix, rows_of(recipe, {0, 8}));
  io::OutputOptions options;
  options.force = true;
  io::NetworkWriter writer(comm, path, image_network(recipe, stored), provenance_of("network"),
                           options);
  const Range mine = random_share(8, comm, seed);
  std::vector<float> bias;
  for (std::int64_t row = mine.begin; row < mine.end; ++row) {
    bias.push_back(bias_of(row));
  }
  writer.write_layer(0, rows_of(recipe, mine), bias);
  writer.finish();
}

struct BatchPlan {
  io::Batch batch;
  RowRecipe recipe;
};

std::vector<BatchPlan> batch_plans() {
  const io::ElementType letters{io::ElementClass::kText, 5};
  const auto make = [](std::int64_t samples, MatrixFormat format, RowRecipe recipe) {
    BatchPlan plan;
    plan.recipe = recipe;
    plan.batch.features = {"/features", format, samples, recipe.cols, nnz_of(recipe, samples),
                           recipe.iso};
    return plan;
  };
  std::vector<BatchPlan> plans = {make(500, MatrixFormat::kCsr, {1, 300, 0.1, false, false}),
                                  make(400, MatrixFormat::kDmat, {2, 30, 0.3, false, true}),
                                  make(300, MatrixFormat::kCsr, {3, 1000, 0.02, true, false}),
                                  make(0, MatrixFormat::kCsr, {4, 20, 0.5, false, false}),
                                  make(0, MatrixFormat::kDmat, {5, 20, 0.5, false, false}),
                                  make(1, MatrixFormat::kCsr, {6, 1, 1, false, true})};
  plans[0].batch.labels = true;
  plans[0].batch.sample_id = letters;
  plans[1].batch.value_type = io::kUint8;
  plans[1].batch.sample_id = io::ElementType{io::ElementClass::kSigned, 8, false};
  plans[3].batch.labels = true;
  plans[3].batch.sample_id = letters;
  plans[5].batch.value_type = io::kFloat64;
  return plans;
}

std::vector<std::byte> ids_of(const io::ElementType& type, Range samples) {
  std::vector<std::byte> ids;
  for (std::int64_t sample = samples.begin; sample < samples.end; ++sample) {
    const std::string spelled = text(1000000000 + sample);
    for (int byte = 0; byte < type.bytes; ++byte) {
      ids.push_back(static_cast<std::byte>(spelled[spelled.size() - 1 - (byte % 10)]));
    }
  }
  return ids;
}

std::vector<std::int64_t> labels_of(Range samples) {
  std::vector<std::int64_t> labels;
  for (std::int64_t sample = samples.begin; sample < samples.end; ++sample) {
    labels.push_back(sample * sample % 10 - 3);
  }
  return labels;
}

void write_batch(const Comm& comm, const std::string& path, const BatchPlan& plan,
                 std::uint64_t seed, io::OutputOptions options = {}) {
  options.force = true;
  const io::Batch& batch = plan.batch;
  io::BatchWriter writer(comm, path, batch, provenance_of("batch"), options);
  const std::int64_t rounds = batch.samples() == 0 ? 0 : 3;
  for (std::int64_t round = 0; round < rounds; ++round) {
    const Range part = split_evenly(batch.samples(), 3, static_cast<int>(round));
    Range samples = random_share(part.size(), comm, seed + static_cast<std::uint64_t>(round));
    samples = {part.begin + samples.begin, part.begin + samples.end};
    writer.write_samples(
        rows_of(plan.recipe, samples),
        batch.labels ? labels_of(samples) : std::vector<std::int64_t>{},
        batch.sample_id ? ids_of(*batch.sample_id, samples) : std::vector<std::byte>{});
  }
  writer.finish();
}

struct ResultPlan {
  io::Result result;
  RowRecipe recipe;  // of the output; a sample is alive if it has any
};

std::vector<ResultPlan> result_plans() {
  const auto make = [](std::int64_t samples, std::int64_t top_k, bool output) {
    ResultPlan plan;
    plan.recipe = {11, 40, 0.2, false, false};
    plan.result.samples = samples;
    const auto rows = rows_of(plan.recipe, {0, samples});
    for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
      plan.result.categories += rows.pointers[row] < rows.pointers[row + 1] ? 1 : 0;
    }
    plan.result.top_k = top_k;
    if (output) {
      plan.result.output = {"/output", MatrixFormat::kCsr, samples, 40, rows.nnz(), false};
    }
    return plan;
  };
  std::vector<ResultPlan> plans = {make(700, 3, true), make(50, 0, false), make(0, 2, true),
                                   make(1, 1, false)};
  plans[0].result.sample_id = io::ElementType{io::ElementClass::kText, 12};
  plans[2].result.sample_id = io::kInt64;
  return plans;
}

template <typename T>
std::vector<T> top_of(Range samples, std::int64_t top_k) {
  std::vector<T> top;
  for (std::int64_t i = samples.begin * top_k; i < samples.end * top_k; ++i) {
    top.push_back(static_cast<T>(i % 1000));
  }
  return top;
}

std::vector<std::uint8_t> alive_of(const ResultPlan& plan, Range samples) {
  const auto rows = rows_of(plan.recipe, samples);
  std::vector<std::uint8_t> alive;
  for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
    alive.push_back(rows.pointers[row] < rows.pointers[row + 1] ? 1 : 0);
  }
  return alive;
}

void write_result(const Comm& comm, const std::string& path, const ResultPlan& plan,
                  std::uint64_t seed, io::OutputOptions options = {}) {
  options.force = true;
  const io::Result& result = plan.result;
  io::ResultWriter writer(comm, path, result, provenance_of("result"), options);
  const Range mine = random_share(result.samples, comm, seed);
  writer.write_alive(mine.begin, alive_of(plan, mine));
  if (result.sample_id) {
    const Range other = random_share(result.samples, comm, seed + 1);
    writer.write_sample_ids(other.begin, ids_of(*result.sample_id, other));
  }
  // In pieces, as many calls as the rank with most of them.
  const std::int64_t pieces = comm.max(mine.size() / 50 + 1);
  for (std::int64_t piece = 0; piece < pieces && result.samples > 0; ++piece) {
    const Range samples{std::min(mine.begin + 50 * piece, mine.end),
                        std::min(mine.begin + 50 * piece + 50, mine.end)};
    if (result.top_k > 0) {
      writer.write_top(samples.begin, top_of<std::int64_t>(samples, result.top_k),
                       top_of<float>(samples, result.top_k));
    }
    if (result.output) {
      writer.write_output(rows_of(plan.recipe, samples), nnz_of(plan.recipe, samples.begin));
    }
  }
  writer.finish();
}

// Content is the same whether compressed or not.
void check_digests(const Comm& comm, const std::string& plain, const std::string& compressed) {
  const auto a = io::read_catalog(comm, plain);
  const auto b = io::read_catalog(comm, compressed);
  BOOST_CHECK_EQUAL(*a.find_attribute("/", "digest"), *b.find_attribute("/", "digest"));
}

const io::OutputOptions kCompressed = [] {
  io::OutputOptions options;
  options.compress = true;
  return options;
}();

}  // namespace

BOOST_AUTO_TEST_CASE(filters_and_windows_come_back) {
  const Comm comm(MPI_COMM_WORLD);
  for (const double density : {0.0, 0.03, 0.3, 1.0}) {
    const RowRecipe recipe{11, 18, density, false, false};
    const FilePair files = file_pair(text("images-", density), comm);
    write_images(comm, files.shared, 3, recipe);
    write_images(Comm(MPI_COMM_SELF), files.alone, 4, recipe);
    BOOST_CHECK(bytes_of(files.shared) == bytes_of(files.alone));
    const io::Catalog catalog = io::read_catalog(comm, files.shared);
    const io::NetworkReader reader(catalog);
    const auto& layers = reader.network().layers;
    const io::Network wanted = image_network(recipe, layers[0].weight.stored);
    BOOST_CHECK_EQUAL(layers[0].weight.stored % 6, 0);
    BOOST_CHECK((layers[0].weight.stored > 0) == (density > 0));
    BOOST_CHECK(equal_rows(reader.read_rows(0, {0, 8}), rows_of(recipe, {0, 8})));
    BOOST_CHECK(equal_rows(reader.read_rows(0, {3, 5}), rows_of(recipe, {3, 5})));
    for (std::size_t id = 0; id < 3; ++id) {
      const kernels::Window& found = layers[id].window;
      const kernels::Window& window = wanted.layers[id].window;
      BOOST_CHECK(layers[id].kind == wanted.layers[id].kind);
      BOOST_CHECK_EQUAL(found.inputs(), window.inputs());
      BOOST_CHECK_EQUAL(found.outputs(), window.outputs());
      BOOST_CHECK_EQUAL(found.groups, window.groups);
      BOOST_CHECK_EQUAL(found.y.pairs(), window.y.pairs());
      BOOST_CHECK_EQUAL(found.x.pairs(), window.x.pairs());
      BOOST_CHECK_EQUAL(found.count_padding, window.count_padding);
    }
    // Output neurons of a channel have its bias, and as many connections as there are edges.
    BOOST_CHECK_EQUAL(layers[0].outputs(), 8 * 4 * 7);
    const auto bias = reader.read_neuron_bias(0, {30, 90});
    BOOST_CHECK_EQUAL(bias.size(), 60U);
    for (std::size_t i = 0; i < bias.size(); ++i) {
      BOOST_CHECK_EQUAL(bias[i], bias_of((30 + static_cast<std::int64_t>(i)) / 28));
    }
    const std::int64_t found = reader.read_connections(0, {0, layers[0].outputs()}).nnz();
    BOOST_CHECK(density < 1 ? found <= layers[0].edges() : found == layers[0].edges());
    BOOST_CHECK_EQUAL(reader.read_connections(1, {0, layers[1].outputs()}).nnz(),
                      layers[1].connections());
    BOOST_CHECK_EQUAL(reader.read_connections(2, {5, 9}).nnz(), 4);
    BOOST_CHECK_EQUAL(layers[2].edges(), 0);
  }
}

BOOST_AUTO_TEST_CASE(networks_are_read_back) {
  const Comm world(MPI_COMM_WORLD);
  const auto plans = layer_plans();
  for (const auto& [path, options] :
       {std::pair{"net.h5", io::OutputOptions{}}, std::pair{"net-small.h5", kCompressed}}) {
    write_network(world, path, 20, options);
    const io::Catalog catalog = io::read_catalog(world, path);
    const io::NetworkReader reader(catalog);
    BOOST_CHECK_EQUAL(std::ssize(reader.network().layers), std::ssize(plans));
    BOOST_CHECK_EQUAL(reader.network().inputs(), 251);
    BOOST_CHECK_EQUAL(reader.network().outputs(), 2);
    BOOST_CHECK(!reader.network().is_chain());
    for (std::size_t id = 0; id < plans.size(); ++id) {
      check_layer(reader, static_cast<std::int64_t>(id), plans[id]);
    }
    const io::FeatureScaling& scaling = reader.network().scaling;
    BOOST_CHECK(!scaling.input_scale && scaling.input_shift && scaling.output_scale &&
                !scaling.output_shift);
    BOOST_CHECK(reader.read_scaling("input_shift") == ramp(251));
    BOOST_CHECK(reader.read_scaling("output_scale") == ramp(2));
  }
  check_digests(world, "net.h5", "net-small.h5");
}

BOOST_AUTO_TEST_CASE(networks_have_the_same_bytes) {
  const Comm world(MPI_COMM_WORLD);
  const auto [shared, alone] = file_pair("bytes-net", world);
  write_network(Comm(MPI_COMM_SELF), alone, 1);
  for (const std::uint64_t seed : {2, 33}) {
    write_network(world, shared, seed);
    BOOST_CHECK_EQUAL(io::sha256(bytes_of(shared)), io::sha256(bytes_of(alone)));
    world.barrier();
  }
}

BOOST_AUTO_TEST_CASE(types_are_the_narrowest) {
  const Comm world(MPI_COMM_WORLD);
  write_network(world, "narrow.h5", 3);
  const io::Catalog catalog = io::read_catalog(world, "narrow.h5");
  const auto type = [&](std::int64_t layer, const std::string& name) {
    return to_string(catalog.dataset(io::group_of_layer(layer) + "/weight/" + name).type);
  };
  BOOST_CHECK_EQUAL(type(0, "indices_1"), "uint8");   // 256 wide
  BOOST_CHECK_EQUAL(type(4, "indices_1"), "uint16");  // 257 wide
  BOOST_CHECK_EQUAL(type(2, "indices_1"), "uint32");  // 70000 wide
  BOOST_CHECK_EQUAL(type(3, "indices_0"), "uint16");  // 257 high
  BOOST_CHECK_EQUAL(type(2, "indices_0"), "uint8");   // 3 high
  BOOST_CHECK_EQUAL(type(0, "pointers_to_1"), "uint16");
  BOOST_CHECK_EQUAL(type(4, "pointers_to_1"), "uint8");  // no values
  BOOST_CHECK_EQUAL(catalog.dataset("/layers/000001/weight/values").count(), 1);
  BOOST_CHECK_EQUAL(catalog.dataset("/layers/000005/weight/values").count(), 0);
  const auto descriptor = nlohmann::json::parse(
      catalog.find_attribute("/layers/000001/weight", "binsparse")->get<std::string>());
  BOOST_CHECK_EQUAL(descriptor["binsparse"]["data_types"]["values"], "iso[float32]");
}

BOOST_AUTO_TEST_CASE(batches_are_read_back) {
  const Comm world(MPI_COMM_WORLD);
  const auto plans = batch_plans();
  for (std::size_t p = 0; p < plans.size(); ++p) {
    const io::Batch& batch = plans[p].batch;
    write_batch(world, "batch.h5", plans[p], p);
    write_batch(world, "batch-small.h5", plans[p], p + 1, kCompressed);
    check_digests(world, "batch.h5", "batch-small.h5");
    for (const char* path : {"batch.h5", "batch-small.h5"}) {
      const io::Catalog catalog = io::read_catalog(world, path);
      const io::BatchReader reader(catalog);
      const io::Batch& found = reader.batch();
      BOOST_TEST_CONTEXT("batch " << p << " in " << path) {
        BOOST_CHECK(found.features.format == batch.features.format);
        BOOST_CHECK_EQUAL(found.samples(), batch.samples());
        BOOST_CHECK_EQUAL(found.features.cols, batch.features.cols);
        BOOST_CHECK(found.value_type == batch.value_type);
        BOOST_CHECK_EQUAL(found.labels, batch.labels);
        BOOST_CHECK(found.sample_id == batch.sample_id);
        const Range part{batch.samples() / 4, batch.samples()};
        BOOST_CHECK(equal_rows(reader.read_samples(part), rows_of(plans[p].recipe, part)));
        if (batch.labels) {
          BOOST_CHECK(reader.read_labels(part) == labels_of(part));
        }
        if (batch.sample_id) {
          BOOST_CHECK(reader.read_sample_ids(part) == ids_of(*batch.sample_id, part));
        }
      }
    }
    world.barrier();
  }
}

BOOST_AUTO_TEST_CASE(batches_have_the_same_bytes) {
  const Comm world(MPI_COMM_WORLD);
  const auto plans = batch_plans();
  for (std::size_t p = 0; p < plans.size(); ++p) {
    const auto [shared, alone] = file_pair(text("bytes-batch", p), world);
    write_batch(Comm(MPI_COMM_SELF), alone, plans[p], 1);
    write_batch(world, shared, plans[p], p);
    BOOST_CHECK_EQUAL(io::sha256(bytes_of(shared)), io::sha256(bytes_of(alone)));
  }
}

BOOST_AUTO_TEST_CASE(results_are_read_back_and_have_the_same_bytes) {
  const Comm world(MPI_COMM_WORLD);
  const auto plans = result_plans();
  for (std::size_t p = 0; p < plans.size(); ++p) {
    const io::Result& result = plans[p].result;
    const Range all{0, result.samples};
    const auto [shared, alone] = file_pair(text("result", p), world);
    write_result(Comm(MPI_COMM_SELF), alone, plans[p], 1);
    write_result(world, shared, plans[p], p);
    BOOST_CHECK_EQUAL(io::sha256(bytes_of(shared)), io::sha256(bytes_of(alone)));
    write_result(world, "small.h5", plans[p], p + 3, kCompressed);
    check_digests(world, shared, "small.h5");
    const io::Catalog catalog = io::read_catalog(world, "small.h5");
    const io::Result found = io::parse_result(catalog);
    const io::DataFile data(catalog);
    BOOST_TEST_CONTEXT("result " << p) {
      BOOST_CHECK_EQUAL(found.samples, result.samples);
      BOOST_CHECK_EQUAL(found.categories, result.categories);
      BOOST_CHECK_EQUAL(found.top_k, result.top_k);
      BOOST_CHECK_EQUAL(found.output.has_value(), result.output.has_value());
      BOOST_CHECK(found.sample_id == result.sample_id);
      const auto alive = alive_of(plans[p], all);
      std::vector<std::uint32_t> read_alive(alive.size());
      data.read(catalog.dataset("/alive"), 0, read_alive);
      BOOST_CHECK(std::equal(alive.begin(), alive.end(), read_alive.begin()));
      std::vector<std::int64_t> expected;
      for (std::size_t i = 0; i < alive.size(); ++i) {
        if (alive[i] != 0) {
          expected.push_back(static_cast<std::int64_t>(i));
        }
      }
      std::vector<std::int64_t> categories(static_cast<std::size_t>(found.categories));
      data.read(catalog.dataset("/categories"), 0, categories);
      BOOST_CHECK(categories == expected);
      if (result.top_k > 0) {
        std::vector<std::int64_t> index(static_cast<std::size_t>(result.samples * result.top_k));
        std::vector<float> value(index.size());
        data.read(catalog.dataset("/top_index"), 0, index);
        data.read(catalog.dataset("/top_value"), 0, value);
        BOOST_CHECK(index == top_of<std::int64_t>(all, result.top_k));
        BOOST_CHECK(value == top_of<float>(all, result.top_k));
      }
      if (result.output) {
        BOOST_CHECK(
            equal_rows(io::read_rows(data, *found.output, all), rows_of(plans[p].recipe, all)));
      }
    }
    world.barrier();
  }
}

BOOST_AUTO_TEST_CASE(rows_that_are_not_as_planned_are_our_bug) {
  const Comm world(MPI_COMM_WORLD);
  const auto outcome = [&](bool iso, io::ElementType type, auto&& spoil) {
    return error_of([&] {
      io::StagedFile file(world, "spoilt.h5", provenance_of("batch"), {});
      io::MatrixWriter writer(file, {"/m", MatrixFormat::kCsr, 6, 10, 6, iso}, type);
      file.create();
      const Range mine = split_evenly(6, world.ranks(), world.rank());
      kernels::CsrRows rows;
      rows.first_row = mine.begin;
      rows.cols = 10;
      for (std::int64_t row = mine.begin; row < mine.end; ++row) {
        rows.indices.push_back(static_cast<std::uint32_t>(row));
        rows.values.push_back(3);
        rows.pointers.push_back(row - mine.begin + 1);
      }
      std::int64_t before = mine.begin;
      spoil(rows, before);
      writer.write_rows(rows, before);
      file.finish();
    });
  };
  const bool last = world.rank() == world.ranks() - 1;
  const auto sound = [](kernels::CsrRows&, std::int64_t&) {};
  BOOST_CHECK_EQUAL(outcome(false, io::kFloat32, sound), "no error");
  const auto says = [&](bool iso, io::ElementType type, auto&& spoil, const std::string& what) {
    const std::string found = outcome(iso, type, spoil);
    BOOST_CHECK_MESSAGE(found.starts_with("70 ") && found.find(what) != std::string::npos, found);
  };
  if (world.rank() == 0) {
    std::remove("spoilt.h5");
  }
  world.barrier();
  using Rows = kernels::CsrRows;
  const auto spoil_last = [last](auto&& change) {
    return [last, change](Rows& rows, std::int64_t& before) {
      if (last) {
        change(rows, before);
      }
    };
  };
  says(false, io::kFloat32, spoil_last([](Rows& r, auto&) { r.indices.back() = 10; }), "columns");
  says(false, io::kFloat32, spoil_last([](Rows& r, auto&) { r.cols = 9; }), "6 x 10");
  says(false, io::kFloat32, spoil_last([](Rows& r, auto&) { ++r.first_row; }), "6 x 10");
  says(false, io::kFloat32, spoil_last([](Rows&, auto& b) { ++b; }), "within the 6 planned");
  says(false, io::kFloat32, spoil_last([](Rows& r, auto&) { r.values.pop_back(); }), "as many");
  says(false, io::kUint8, spoil_last([](Rows& r, auto&) { r.values.back() = 2.5F; }), "uint8");
  says(false, io::kUint8, spoil_last([](Rows& r, auto&) { r.values.back() = 256; }), "uint8");
  says(true, io::kFloat32, spoil_last([](Rows& r, auto&) {
         r.values.assign(r.values.size(), 4);
         r.values.back() = 5;
       }),
       "iso matrix");
}

BOOST_AUTO_TEST_SUITE_END()
