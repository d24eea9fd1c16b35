// label: full
// Networks are read back as they were written, and their bytes are those that one process alone
// writes.
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "io/catalog.hpp"
#include "io/checksum.hpp"
#include "tests/io/written_files.hpp"

BOOST_AUTO_TEST_SUITE(io_written_networks)

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

BOOST_AUTO_TEST_SUITE_END()
