// What a file says of itself is checked before anything is read, whoever made it.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "io/batch_file.hpp"
#include "io/file_kind.hpp"
#include "io/network_file.hpp"
#include "io/result_file.hpp"
#include "io/skeleton.hpp"
#include "tests/io/made_files.hpp"

BOOST_AUTO_TEST_SUITE(io_parse_kinds)

using namespace espalier;
using namespace espalier::tests;
using io::ElementClass;
using io::ElementType;
using nlohmann::json;

namespace {

// A catalog as of a file made by others; tests spoil it.
struct Sketch {
  io::Catalog catalog;

  Sketch() {
    catalog.file = "x.h5";
    catalog.file_bytes = std::int64_t{1} << 40;
    catalog.objects["/"];
  }
  void group(const std::string& path) {
    for (std::size_t slash = 0; slash != std::string::npos;) {
      slash = path.find('/', slash + 1);
      catalog.objects[path.substr(0, slash)];
    }
  }
  void dataset(const std::string& path, ElementType type, std::vector<std::int64_t> shape) {
    group(path);
    catalog.datasets[path] = {path, type, std::move(shape), 0, false};
  }
  json& attribute(const std::string& object, const std::string& name) {
    group(object);
    return catalog.objects[object][name];
  }
  void csr(const std::string& path, std::int64_t rows, std::int64_t cols, std::int64_t nnz) {
    const io::MatrixInfo matrix{path, io::MatrixFormat::kCsr, rows, cols, nnz, false};
    attribute(path, "binsparse") = io::make_descriptor(
        matrix,
        {{"pointers_to_1", io::kInt64}, {"indices_1", io::kInt64}, {"values", io::kFloat64}});
    dataset(path + "/pointers_to_1", io::kInt64, {rows + 1});
    dataset(path + "/indices_1", io::kInt64, {nnz});
    dataset(path + "/values", io::kFloat64, {nnz});
  }
  void dvec(const std::string& path, std::int64_t rows, bool iso) {
    const io::MatrixInfo matrix{path, io::MatrixFormat::kDvec, rows, 1, rows, iso};
    attribute(path, "binsparse") = io::make_descriptor(matrix, {{"values", io::kFloat32}});
    dataset(path + "/values", io::kFloat32, {iso ? 1 : rows});
  }
};

// Layers of the given widths without any attributes, as others may write them.
Sketch plain_network(const std::vector<std::int64_t>& widths) {
  Sketch sketch;
  for (std::size_t id = 0; id + 1 < widths.size(); ++id) {
    sketch.csr(io::group_of_layer(static_cast<std::int64_t>(id)) + "/weight", widths[id + 1],
               widths[id], 5);
  }
  return sketch;
}

template <typename Spoil>
std::string network_error(Spoil&& spoil) {
  Sketch sketch = plain_network({784, 1024, 512, 10});
  spoil(sketch);
  return error_of([&] { io::parse_network(sketch.catalog); });
}

// A bank of 6 x 4 filters of 5 x 3, of which `stored` are there, under the last layer.
constexpr const char* kBank = "/layers/000000";
Sketch convolution(std::int64_t stored = 10, const std::vector<std::int64_t>& shape = {4, 9, 8}) {
  Sketch sketch;
  const std::string path = std::string(kBank) + "/weight";
  io::MatrixInfo matrix{path, io::MatrixFormat::kFilters, 6, 4 * 15, stored * 15, false};
  matrix.filter_height = 5;
  matrix.filter_width = 3;
  sketch.attribute(path, "binsparse") = io::make_descriptor(
      matrix, {{"indices_0", io::kInt64}, {"indices_1", io::kUint8}, {"values", io::kFloat32}});
  sketch.dataset(path + "/indices_0", io::kInt64, {stored});
  sketch.dataset(path + "/indices_1", io::kUint8, {stored});
  sketch.dataset(path + "/values", io::kFloat32, {stored * 15});
  sketch.attribute(kBank, "kind") = "convolution";
  sketch.attribute(kBank, "input_shape") = shape;
  return sketch;
}

// What is said of it once spoiled, after "65 x.h5: layer 0: "; or "no error".
template <typename Spoil>
std::string window_error(Spoil&& spoil) {
  Sketch sketch = convolution();
  spoil(sketch);
  const std::string error = error_of([&] { io::parse_network(sketch.catalog); });
  const std::string at = "65 x.h5: layer 0: ";
  return error.starts_with(at) ? error.substr(at.size()) : error;
}

Sketch plain_batch() {
  Sketch sketch;
  sketch.csr("/features", 20, 784, 60);
  sketch.dataset("/labels", {ElementClass::kUnsigned, 1}, {20});
  sketch.dataset("/sample_id", {ElementClass::kText, 8}, {20});
  return sketch;
}

Sketch plain_result() {
  Sketch sketch;
  sketch.dataset("/categories", io::kInt64, {4});
  sketch.dataset("/alive", io::kUint8, {20});
  sketch.dataset("/top_index", io::kInt64, {20, 3});
  sketch.dataset("/top_value", io::kFloat32, {20, 3});
  sketch.csr("/output", 20, 10, 9);
  return sketch;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_network_of_others_needs_no_attributes) {
  const Sketch sketch = plain_network({784, 1024, 10});
  const io::Network network = io::parse_network(sketch.catalog);
  BOOST_REQUIRE_EQUAL(network.layers.size(), 2U);
  BOOST_CHECK_EQUAL(network.inputs(), 784);
  BOOST_CHECK_EQUAL(network.outputs(), 10);
  BOOST_CHECK_EQUAL(network.nnz(), 10);
  BOOST_CHECK(network.is_chain());
  const io::Layer& layer = network.layers[1];
  BOOST_CHECK_EQUAL(layer.name, "layer-1");
  BOOST_CHECK(layer.inputs == std::vector<std::int64_t>{0});
  BOOST_CHECK(layer.bias == io::BiasKind::kNone);
  BOOST_CHECK(layer.epilogue.activation == kernels::Activation::kIdentity);
  BOOST_CHECK(!layer.epilogue.has_clamp && !layer.epilogue.bias_where_nonzero);
}

BOOST_AUTO_TEST_CASE(attributes_are_understood) {
  Sketch sketch = plain_network({784, 1024, 512, 10});
  const std::string first = io::group_of_layer(0), second = io::group_of_layer(1);
  sketch.attribute(first, "activation") = "elu";
  sketch.attribute(first, "clamp") = json::array({6});
  sketch.attribute(first, "bias_mode") = "nonzero";
  sketch.attribute(first, "inputs") = -1;
  sketch.attribute(first, "unknown") = json();
  sketch.attribute(second, "activation") = "leaky_relu";
  sketch.attribute(second, "alpha") = 0.25;
  sketch.dvec(first + "/bias", 1024, false);
  sketch.dvec(second + "/bias", 512, true);
  sketch.dataset("/output_shift", io::kFloat64, {10});
  const io::Network network = io::parse_network(sketch.catalog);
  BOOST_CHECK(network.layers[0].epilogue.activation == kernels::Activation::kElu);
  BOOST_CHECK_EQUAL(network.layers[0].epilogue.alpha, 1.0F);
  BOOST_CHECK(network.layers[0].epilogue.has_clamp);
  BOOST_CHECK_EQUAL(network.layers[0].epilogue.clamp, 6.0F);
  BOOST_CHECK(network.layers[0].epilogue.bias_where_nonzero);
  BOOST_CHECK(network.layers[0].bias == io::BiasKind::kFull);
  BOOST_CHECK_EQUAL(network.layers[1].epilogue.alpha, 0.25F);
  BOOST_CHECK(network.layers[1].bias == io::BiasKind::kIso);
  BOOST_CHECK(network.scaling.output_shift && !network.scaling.input_scale);
}

BOOST_AUTO_TEST_CASE(windows_are_understood) {
  Sketch sketch = convolution();
  sketch.attribute(kBank, "strides") = json::array({2, 1});
  sketch.attribute(kBank, "padding") = json::array({1, 2, 0, 3});
  sketch.dvec(std::string(kBank) + "/bias", 6, false);
  const std::string pool = io::group_of_layer(1), flat = io::group_of_layer(2);
  sketch.attribute(pool, "kind") = "average_pool";
  sketch.attribute(pool, "input_shape") = json::array({6, 3, 11});
  sketch.attribute(pool, "kernel") = json::array({2, 3});
  sketch.attribute(pool, "count_padding") = 1;
  sketch.attribute(flat, "kind") = "flatten";
  sketch.attribute(flat, "input_shape") = json::array({6, 1, 3});
  const io::Network network = io::parse_network(sketch.catalog);
  const io::Layer& layer = network.layers[0];
  BOOST_CHECK_EQUAL(layer.width(), 4 * 9 * 8);
  BOOST_CHECK_EQUAL(layer.window.y.outputs(), 3);   // (9 + 1 - 5) / 2 + 1
  BOOST_CHECK_EQUAL(layer.window.x.outputs(), 11);  // 8 + 5 - 3 + 1
  BOOST_CHECK_EQUAL(layer.outputs(), 6 * 3 * 11);
  BOOST_CHECK_EQUAL(network.nnz(), 150);
  // Rows: 4 + 5 + 5 of 5 taps each; columns: 8 of 3 x 11 lie in the image for each tap.
  BOOST_CHECK_EQUAL(layer.edges(), 10 * 14 * 24);
  BOOST_CHECK_EQUAL(network.edges(), layer.edges());
  BOOST_CHECK_EQUAL(network.layers[1].outputs(), 6 * 3);
  BOOST_CHECK_EQUAL(network.layers[1].connections(), 6 * 2 * 9);
  BOOST_CHECK(network.layers[1].window.count_padding);
  BOOST_CHECK_EQUAL(network.outputs(), 18);
  BOOST_CHECK(network.is_chain());
}

BOOST_AUTO_TEST_CASE(damaged_windows_are_refused) {
  const auto with = [](const char* name, const json& value) {
    return window_error([&](Sketch& s) { s.attribute(kBank, name) = value; });
  };
  BOOST_CHECK_EQUAL(window_error([](Sketch&) {}), "no error");
  BOOST_CHECK_EQUAL(with("kind", "conv"),
                    "attribute 'kind' is \"conv\"; known are connections, convolution, max_pool, "
                    "average_pool, flatten");
  BOOST_CHECK_EQUAL(with("kind", "connections"),
                    "its weight are filters, but its kind is connections; convolution would be "
                    "right");
  BOOST_CHECK_EQUAL(with("kind", "max_pool"), "a layer of kind max_pool has no weight");
  BOOST_CHECK_EQUAL(with("input_shape", json::array({4, 9})),
                    "attribute 'input_shape' is [4,9]; 3 whole numbers from 1 to 4294967296 would "
                    "be right");
  BOOST_CHECK_EQUAL(with("input_shape", json::array({4, 65536, 65536})),
                    "its input of 4 x 65536 x 65536 has more than 4294967296 neurons");
  BOOST_CHECK_EQUAL(with("input_shape", json::array({4, 4, 8})),
                    "its window is 5 x 3, larger than its input of 4 x 8 with the padding");
  BOOST_CHECK_EQUAL(with("dilation", json::array({1, 4})),
                    "its window is 5 x 9, larger than its input of 9 x 8 with the padding");
  BOOST_CHECK_EQUAL(with("strides", json::array({0, 1})),
                    "attribute 'strides' is [0,1]; 2 whole numbers from 1 to 65535 would be right");
  BOOST_CHECK_EQUAL(with("padding", json::array({0, 0, -1, 0})),
                    "attribute 'padding' is [0,0,-1,0]; 4 whole numbers from 0 to 65535 would be "
                    "right");
  BOOST_CHECK_EQUAL(with("kernel", json::array({3, 5})),
                    "attribute 'kernel' is 3 x 5 but its filters are 5 x 3");
  BOOST_CHECK_EQUAL(with("groups", 4),
                    "its 4 input and 6 output channels cannot be dealt evenly to 4 groups");
  BOOST_CHECK_EQUAL(with("groups", 2),
                    "its weight has 60 columns; 2 input channels of a group with 5 x 3 taps would "
                    "be right");
  BOOST_CHECK_EQUAL(with("groups", std::numeric_limits<std::uint64_t>::max()).substr(0, 40),
                    "attribute 'groups' is [18446744073709551");
  BOOST_CHECK_EQUAL(window_error([](Sketch& s) { s.catalog.objects[kBank].erase("input_shape"); }),
                    "has no attribute 'input_shape'; a layer of kind convolution has it");
  BOOST_CHECK_EQUAL(window_error([](Sketch& s) {
                      s.csr(std::string(kBank) + "/weight", 6, 60, 5);
                      s.attribute(kBank, "kernel") = json::array({5, 3});
                    }).substr(0, 35),
                    "its weight is a CSR; filters or a D");
  // A small file may claim much: here 2^32 outputs that each see up to 2^30 inputs.
  BOOST_CHECK_EQUAL(window_error([](Sketch& s) {
                      s = Sketch();
                      s.attribute(kBank, "kind") = "max_pool";
                      s.attribute(kBank, "input_shape") = json::array({1, 65536, 65536});
                      s.attribute(kBank, "kernel") = json::array({32768, 32768});
                      s.attribute(kBank, "strides") = json::array({1, 1});
                      s.attribute(kBank, "padding") = json::array({16384, 16384, 16383, 16383});
                    }),
                    "it makes more than 2^48 connections");
  BOOST_CHECK_EQUAL(window_error([](Sketch& s) {
                      s = Sketch();
                      s.attribute(kBank, "kind") = "max_pool";
                      s.attribute(kBank, "input_shape") = json::array({1, 65536, 65536});
                      s.attribute(kBank, "kernel") = json::array({65535, 65535});
                      s.attribute(kBank, "strides") = json::array({1, 1});
                      s.attribute(kBank, "padding") = json::array({40000, 40000, 40000, 40000});
                    }),
                    "its output of 1 x 80002 x 80002 has more than 4294967296 neurons");
}

BOOST_AUTO_TEST_CASE(filter_banks_store_what_they_say) {
  const auto error = [](const json& format, const json& shape, std::int64_t stored) {
    return window_error([&](Sketch& s) {
      json& attribute = s.attribute(std::string(kBank) + "/weight", "binsparse");
      json root = json::parse(attribute.get<std::string>());
      root["binsparse"]["format"] = format;
      root["binsparse"]["shape"] = shape;
      root["binsparse"]["number_of_stored_values"] = stored;
      attribute = root.dump();
    });
  };
  const json element = {{"level_desc", "element"}};
  const json taps = {{"level_desc", "dense"}, {"rank", 2}, {"level", element}};
  json format = {{"custom", {{"level", {{"level_desc", "sparse"}, {"rank", 2}, {"level", taps}}}}}};
  const json shape = {6, 4, 5, 3};
  BOOST_CHECK_EQUAL(error(format, shape, 150), "no error");
  const std::string at = "65 x.h5: /layers/000000/weight: ";
  BOOST_CHECK_EQUAL(error(format, shape, 151),
                    at + "has 151 stored values, no multiple of 15 a filter");
  BOOST_CHECK_EQUAL(error(format, shape, 165),
                    at + "dataset indices_0 has shape [10], [11] would be right");
  BOOST_CHECK_EQUAL(error(format, {6, 1, 5, 3}, 105),
                    at + "has 105 stored values, more than 6 x 15 positions");
  BOOST_CHECK_EQUAL(error(format, {6, 4, 0, 3}, 0), at + "its filters are 0 x 3");
  BOOST_CHECK_EQUAL(error(format, {6, 4, 1 << 20, 1 << 20}, 0),
                    at + "has more than 4294967296 columns");
  BOOST_CHECK_EQUAL(error(format, {6, 4, 15}, 150),
                    at + "the descriptor's shape is no list of 4 numbers");
  format["custom"]["transpose"] = {0, 1, 2, 3};
  BOOST_CHECK_EQUAL(error(format, shape, 150), "no error");
  format["custom"]["transpose"] = {1, 0, 2, 3};
  BOOST_CHECK_EQUAL(error(format, shape, 150),
                    at + "the descriptor has no text key format, nor that of filters");
}

BOOST_AUTO_TEST_CASE(every_activation_has_a_name) {
  for (const char* name :
       {"identity", "relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "softmax"}) {
    const auto activation = io::parse_activation(name);
    BOOST_REQUIRE(activation.has_value());
    BOOST_CHECK_EQUAL(io::to_string(*activation), name);
  }
  BOOST_CHECK(!io::parse_activation("Relu") && !io::parse_activation(""));
}

BOOST_AUTO_TEST_CASE(widths_that_do_not_fit_are_named) {
  BOOST_CHECK_EQUAL(network_error([](Sketch&) {}), "no error");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.csr("/layers/000001/weight", 512, 784, 5); }),
                    "65 x.h5: layer 1 ('layer-1') takes 784 inputs but layer 0 gives 1024 outputs");
  BOOST_CHECK_EQUAL(
      network_error([](Sketch& s) {
        s.attribute("/layers/000002", "inputs") = json::array({1, 0});
        s.attribute("/layers/000002", "name") = "head";
      }),
      "65 x.h5: layer 2 ('head') takes 512 inputs but layers 1, 0 together give 1536 outputs");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) {
                      s.attribute("/layers/000002", "inputs") = json::array({1, 0, -1});
                      s.csr("/layers/000002/weight", 10, 512 + 1024 + 784, 5);
                    }),
                    "no error");
  BOOST_CHECK_EQUAL(
      network_error([](Sketch& s) { s.attribute("/layers/000000", "inputs") = json::array({2}); }),
      "65 x.h5: layer 0 takes 784 inputs from layers 2; it must take the network's input (-1) "
      "once, at least 1 wide");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) {
                      s.attribute("/layers/000000", "inputs") = json::array({-1, 0});
                    }).substr(0, 63),
                    "65 x.h5: layer 0 takes 784 inputs from layers -1, 0; it must ta");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) {
                      s.attribute("/layers/000000", "inputs") = json::array({-1, 2});
                      s.attribute("/layers/000002", "inputs") = json::array({1});
                    }),
                    "no error");
}

BOOST_AUTO_TEST_CASE(damaged_layers_are_refused) {
  const auto attribute_error = [](const char* name, const json& value) {
    return network_error([&](Sketch& s) { s.attribute("/layers/000001", name) = value; });
  };
  const std::string at = "65 x.h5: layer 1: ";
  BOOST_CHECK_EQUAL(attribute_error("activation", "swish"),
                    at + "activation \"swish\" is not known; known are identity, relu, leaky_relu, "
                         "elu, gelu, silu, sigmoid, tanh, softmax");
  BOOST_CHECK_EQUAL(attribute_error("activation", "softmax"),
                    at + "its activation is softmax, which only the last layer (2) may have");
  BOOST_CHECK_EQUAL(attribute_error("activation", 3),
                    at + "attribute 'activation' is 3; text would be right");
  BOOST_CHECK_EQUAL(attribute_error("name", json()),
                    at + "attribute 'name' is of another type; text would be right");
  BOOST_CHECK_EQUAL(attribute_error("bias_mode", "never"),
                    at + "bias_mode \"never\" is not known; known are always, nonzero");
  BOOST_CHECK_EQUAL(attribute_error("clamp", "high"),
                    at + "attribute 'clamp' is \"high\"; a number would be right");
  BOOST_CHECK_EQUAL(attribute_error("clamp", json::array({1, 2})),
                    at + "attribute 'clamp' is [1,2]; a number would be right");
  BOOST_CHECK_EQUAL(attribute_error("alpha", std::numeric_limits<double>::infinity()),
                    at + "attribute 'alpha' is inf; a finite float32 would be right");
  BOOST_CHECK_EQUAL(attribute_error("clamp", std::nan("")),
                    at + "attribute 'clamp' is nan; a finite float32 would be right");
  BOOST_CHECK_EQUAL(attribute_error("clamp", 1e300),
                    at + "attribute 'clamp' is 1e+300; a finite float32 would be right");
  const std::string range = " is no layer; layers are 0 to 2, the network's input is -1";
  BOOST_CHECK_EQUAL(attribute_error("inputs", json::array({0, 3})), at + "its input 3" + range);
  BOOST_CHECK_EQUAL(attribute_error("inputs", -2), at + "its input -2" + range);
  BOOST_CHECK_EQUAL(attribute_error("inputs", 0.0), at + "its input 0.0" + range);
  BOOST_CHECK_EQUAL(attribute_error("inputs", std::numeric_limits<std::uint64_t>::max()),
                    at + "its input 18446744073709551615" + range);
  BOOST_CHECK_EQUAL(attribute_error("inputs", json::array()),
                    at + "attribute 'inputs' is empty; a layer has at least one input");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.csr("/layers/000001/weight", 0, 1024, 0); }),
                    at + "its weight is 0 x 1024; a layer has at least one output and one input");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.dvec("/layers/000001/weight", 512, true); }),
                    at + "its weight is a vector (DVEC); CSR, COO or DMAT would be right");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.dvec("/layers/000001/bias", 511, false); }),
                    at + "its bias has 511 values for 512 outputs");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.csr("/layers/000001/bias", 512, 1, 3); }),
                    at + "its bias is a CSR; DVEC would be right");
  BOOST_CHECK_EQUAL(
      network_error([](Sketch& s) { s.dataset("/output_scale", io::kFloat32, {11}); }),
      "65 x.h5: /output_scale is float32 of shape [11]; float32 of shape [10] would be right");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.group("/input_shift"); }),
                    "65 x.h5: there is no dataset /input_shift (it is a group)");
}

BOOST_AUTO_TEST_CASE(layers_are_numbered_without_gaps) {
  BOOST_CHECK_EQUAL(io::group_of_layer(12), "/layers/000012");
  BOOST_CHECK_EQUAL(io::group_of_layer(1234567), "/layers/1234567");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.group("/layers/conv"); }),
                    "65 x.h5: /layers holds \"conv\"; layers are named 000000, 000001, ...");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.group("/layers/000004"); }),
                    "65 x.h5: there is no layer /layers/000003 among the 4 in /layers");
  BOOST_CHECK_EQUAL(network_error([](Sketch& s) { s.dataset("/layers/000003", io::kInt64, {1}); }),
                    "65 x.h5: there is no layer /layers/000003 among the 4 in /layers");
  Sketch empty;
  empty.group("/layers");
  BOOST_CHECK_EQUAL(error_of([&] { io::parse_network(empty.catalog); }),
                    "65 x.h5: a network has at least one layer, but there is nothing in /layers");
}

BOOST_AUTO_TEST_CASE(files_of_another_kind_say_what_they_are) {
  const Sketch network = plain_network({4, 2}), batch = plain_batch(), result = plain_result();
  BOOST_CHECK_EQUAL(io::kind_of_file(network.catalog), "network");
  BOOST_CHECK_EQUAL(io::kind_of_file(batch.catalog), "batch");
  BOOST_CHECK_EQUAL(io::kind_of_file(result.catalog), "result");
  BOOST_CHECK_EQUAL(error_of([&] { io::parse_network(batch.catalog); }),
                    "65 x.h5 is a batch file; a network file is needed here");
  BOOST_CHECK_EQUAL(error_of([&] { io::parse_batch(network.catalog); }),
                    "65 x.h5 is a network file; a batch file is needed here");
  BOOST_CHECK_EQUAL(error_of([&] { io::parse_result(batch.catalog); }),
                    "65 x.h5 is a batch file; a result file is needed here");
  Sketch other;
  BOOST_CHECK_EQUAL(error_of([&] { io::parse_batch(other.catalog); }),
                    "65 x.h5 is no batch file: it has no /features but nothing");
  for (const char* name : {"/a", "/b", "/c", "/d", "/e", "/f"}) {
    other.group(name);
  }
  BOOST_CHECK_EQUAL(
      error_of([&] { io::parse_network(other.catalog); }),
      "65 x.h5 is no network file: it has no /layers/000000/weight but /a, /b, /c, /d, /e, ...");

  // What the file says of itself comes first.
  Sketch named = plain_network({4, 2});
  named.attribute("/", "espalier") = R"({"kind": "result", "format": 1})";
  BOOST_CHECK_EQUAL(io::kind_of_file(named.catalog), "result");
  named.attribute("/", "espalier") = R"({"kind": "network", "format": 2})";
  BOOST_CHECK_EQUAL(error_of([&] { io::parse_network(named.catalog); }),
                    "65 x.h5 has format 2; this espalier reads format 1");
  for (const json& damaged :
       {json("no JSON"), json(7), json("{}"), json("[1]"), json(R"({"kind": 1, "format": 1})"),
        json(R"({"kind": "batch", "format": "1"})")}) {
    named.attribute("/", "espalier") = damaged;
    BOOST_CHECK(error_of([&] {
                  io::parse_network(named.catalog);
                }).starts_with("65 x.h5: the root attribute 'espalier' is not JSON text"));
  }
}

BOOST_AUTO_TEST_CASE(batches_are_checked) {
  const Sketch sound = plain_batch();
  const io::Batch batch = io::parse_batch(sound.catalog);
  BOOST_CHECK_EQUAL(batch.samples(), 20);
  BOOST_CHECK_EQUAL(batch.features.cols, 784);
  BOOST_CHECK(batch.value_type == io::kFloat64);
  BOOST_CHECK(batch.labels);
  BOOST_CHECK(batch.sample_id == (ElementType{ElementClass::kText, 8}));

  const auto batch_error = [](auto&& spoil) {
    Sketch sketch = plain_batch();
    spoil(sketch);
    return error_of([&] { io::parse_batch(sketch.catalog); });
  };
  BOOST_CHECK_EQUAL(batch_error([](Sketch& s) { s.dataset("/labels", io::kInt64, {19}); }),
                    "65 x.h5: /labels is int64 of shape [19]; whole numbers of shape [20] would be "
                    "right");
  BOOST_CHECK_EQUAL(batch_error([](Sketch& s) { s.dataset("/labels", io::kFloat32, {20}); }),
                    "65 x.h5: /labels is float32 of shape [20]; whole numbers of shape [20] would "
                    "be right");
  BOOST_CHECK_EQUAL(
      batch_error([](Sketch& s) {
        s.dataset("/sample_id", io::kInt64, {20, 1});
      }),
      "65 x.h5: /sample_id is int64 of shape [20,1]; whole numbers or fixed-length text of shape "
      "[20] would be right");
  BOOST_CHECK(batch_error([](Sketch& s) {
                s.dataset("/sample_id", {ElementClass::kOther, 16}, {20});
              }).starts_with("65 x.h5: /sample_id is other[16]"));
  BOOST_CHECK_EQUAL(batch_error([](Sketch& s) { s.dvec("/features", 20, true); }),
                    "65 x.h5: /features is DVEC; CSR or DMAT would be right");
}

BOOST_AUTO_TEST_CASE(results_are_checked) {
  const Sketch sound = plain_result();
  const io::Result result = io::parse_result(sound.catalog);
  BOOST_CHECK_EQUAL(result.samples, 20);
  BOOST_CHECK_EQUAL(result.categories, 4);
  BOOST_CHECK_EQUAL(result.top_k, 3);
  BOOST_CHECK(result.output.has_value() && !result.sample_id.has_value());

  const auto result_error = [](auto&& spoil) {
    Sketch sketch = plain_result();
    spoil(sketch);
    return error_of([&] { io::parse_result(sketch.catalog); });
  };
  const auto drop = [](Sketch& s, const std::string& path) {
    s.catalog.datasets.erase(path);
    s.catalog.objects.erase(path);
  };
  BOOST_CHECK_EQUAL(result_error([&](Sketch& s) { drop(s, "/top_value"); }),
                    "65 x.h5: there is /top_index without /top_value");
  BOOST_CHECK_EQUAL(result_error([&](Sketch& s) { drop(s, "/top_index"); }),
                    "65 x.h5: there is /top_value without /top_index");
  BOOST_CHECK_EQUAL(result_error([](Sketch& s) {
                      s.dataset("/top_value", io::kFloat32, {20, 2});
                    }),
                    "65 x.h5: /top_value is float32 of shape [20,2] next to a /top_index of shape "
                    "[20,3]; float32 "
                    "of the same shape would be right");
  BOOST_CHECK(result_error([](Sketch& s) {
                s.dataset("/top_index", io::kInt64, {19, 3});
              }).starts_with("65 x.h5: /top_index is int64 of shape [19,3]; whole numbers"));
  BOOST_CHECK_EQUAL(result_error([](Sketch& s) { s.dataset("/categories", io::kInt64, {21}); }),
                    "65 x.h5: /categories lists 21 of 20 samples");
  BOOST_CHECK(result_error([](Sketch& s) {
                s.dataset("/alive", io::kUint8, {4, 5});
              }).starts_with("65 x.h5: /alive is uint8 of shape [4,5]"));
  BOOST_CHECK_EQUAL(result_error([](Sketch& s) { s.csr("/output", 19, 10, 9); }),
                    "65 x.h5: /output is CSR with 19 rows; CSR with one row for each of the 20 "
                    "samples would be right");
}

BOOST_AUTO_TEST_CASE(equal_plans_make_equal_bytes_in_any_order) {
  const auto build = [](bool turned, const std::string& path) {
    io::Skeleton skeleton;
    const auto one = [&] { skeleton.add_dataset("/b/one", io::kInt64, {3}); };
    const auto two = [&] { skeleton.add_dataset("/a/two", io::kUint8, {5, 2}); };
    turned ? two() : one();
    turned ? one() : two();
    skeleton.add_attribute("/b", turned ? "x" : "y", 1);
    skeleton.add_attribute("/b", turned ? "y" : "x", 1);
    skeleton.build(path, false);
    return bytes_of(path);
  };
  BOOST_CHECK(build(false, "straight.h5") == build(true, "turned.h5"));
}

BOOST_AUTO_TEST_SUITE_END()
