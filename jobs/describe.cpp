#include "jobs/describe.hpp"

#include "framework/error.hpp"
#include "io/batch_file.hpp"
#include "io/checksum.hpp"
#include "io/file_kind.hpp"
#include "io/network_file.hpp"
#include "io/network_window.hpp"
#include "io/result_file.hpp"

namespace espalier::jobs {
namespace {

using Json = nlohmann::ordered_json;

// Bytes of an array, exact as long as 64 bits hold them.
Json bytes_of(double elements, double element_bytes) {
  const double bytes = elements * element_bytes;
  return bytes < 0x1p53 ? Json(static_cast<std::int64_t>(bytes)) : Json(bytes);
}

double cells(const io::MatrixInfo& matrix) {
  return static_cast<double>(matrix.rows) * static_cast<double>(matrix.cols);
}

double ratio(double part, double all) { return all > 0 ? part / all : 0; }

Json type_in(const io::Catalog& catalog, const std::string& path) {
  const io::Dataset* dataset = catalog.find_dataset(path);
  return dataset != nullptr ? Json(io::to_string(dataset->type)) : Json(nullptr);
}

std::int64_t bytes_below(const io::Catalog& catalog, const std::string& group) {
  std::int64_t bytes = 0;
  for (const std::string& name : catalog.children(group)) {
    const io::Dataset* dataset = catalog.find_dataset(text(group, "/", name));
    bytes += dataset != nullptr ? dataset->bytes() : 0;
  }
  return bytes;
}

// Shape, count and types of one matrix.
Json describe_matrix(const io::Catalog& catalog, const io::MatrixInfo& matrix) {
  Json out;
  out["rows"] = matrix.rows;
  out["cols"] = matrix.cols;
  out["nnz"] = matrix.stored;
  out["density"] = ratio(static_cast<double>(matrix.stored), cells(matrix));
  out["format"] = io::to_string(matrix.format);
  const bool list = matrix.format == io::MatrixFormat::kList;
  const bool vector = matrix.format == io::MatrixFormat::kVector;
  out["index_type"] = list
                          ? Json(io::to_string(io::kUint32))
                          : type_in(catalog, matrix.group + (vector ? "/indices_0" : "/indices_1"));
  out["pointer_type"] = type_in(catalog, matrix.group + (list ? "/pointers" : "/pointers_to_1"));
  out["value_type"] = list                          ? Json(io::to_string(io::kFloat32))
                      : matrix.value_type.is_half() ? Json(io::value_name(matrix.value_type))
                                                    : type_in(catalog, matrix.group + "/values");
  out["iso"] = matrix.iso;
  out["bytes"] = bytes_below(catalog, matrix.group);
  out["bytes_per_weight"] = ratio(out["bytes"].get<double>(), static_cast<double>(matrix.stored));
  out["dense_bytes"] = bytes_of(cells(matrix), sizeof(float));
  return out;
}

std::string bias_word(io::BiasKind kind) {
  return kind == io::BiasKind::kNone ? "none" : kind == io::BiasKind::kIso ? "iso" : "full";
}

// Null for plain connections.
Json describe_window(const io::Layer& layer) {
  if (layer.kind == io::LayerKind::kConnections) {
    return nullptr;
  }
  const kernels::Window& window = layer.window;
  Json out;
  out["input_shape"] = {window.channels, window.y.inputs, window.x.inputs};
  out["output_shape"] = {window.out_channels, window.y.outputs(), window.x.outputs()};
  out["kernel"] = {window.y.kernel, window.x.kernel};
  out["strides"] = {window.y.stride, window.x.stride};
  out["padding"] = {window.y.pad_begin, window.x.pad_begin, window.y.pad_end, window.x.pad_end};
  out["dilation"] = {window.y.dilation, window.x.dilation};
  out["groups"] = layer.kind == io::LayerKind::kConvolution ? window.groups : 1;
  return out;
}

Json describe_layer(const io::Catalog& catalog, const io::Layer& layer, std::int64_t index) {
  Json out;
  out["layer"] = index;
  out["name"] = layer.name;
  out["kind"] = io::to_string(layer.kind);
  out.update(describe_matrix(catalog, layer.weight));
  if (!layer.has_weights()) {
    out["format"] = "none";
  }
  out["edges"] = layer.edges();
  out["window"] = describe_window(layer);
  out["activation"] = io::to_string(layer.epilogue.activation);
  using kernels::Activation;
  const bool has_alpha = layer.epilogue.activation == Activation::kLeakyRelu ||
                         layer.epilogue.activation == Activation::kElu;
  out["alpha"] = has_alpha ? Json(layer.epilogue.alpha) : Json(nullptr);
  out["clamp"] = layer.epilogue.has_clamp ? Json(layer.epilogue.clamp) : Json(nullptr);
  out["bias"] = bias_word(layer.bias);
  out["bias_mode"] = layer.epilogue.bias_where_nonzero ? "nonzero" : "always";
  out["inputs"] = layer.inputs;
  return out;
}

Json scaling_names(const io::FeatureScaling& scaling) {
  Json names = Json::array();
  const std::pair<const char*, bool> all[] = {{"input_scale", scaling.input_scale},
                                              {"input_shift", scaling.input_shift},
                                              {"output_scale", scaling.output_scale},
                                              {"output_shift", scaling.output_shift}};
  for (const auto& [name, present] : all) {
    if (present) {
      names.push_back(name);
    }
  }
  return names;
}

void describe_network(const io::Catalog& catalog, Json& out) {
  const io::Network network = io::parse_network(catalog);
  double all = 0;
  std::int64_t bytes = 0;
  Json layers = Json::array();
  for (std::size_t index = 0; index < network.layers.size(); ++index) {
    layers.push_back(
        describe_layer(catalog, network.layers[index], static_cast<std::int64_t>(index)));
    all += cells(network.layers[index].weight);
    bytes += layers.back()["bytes"].get<std::int64_t>();
  }
  out["layer_count"] = network.layers.size();
  out["inputs"] = network.inputs();
  out["outputs"] = network.outputs();
  out["nnz"] = network.nnz();
  out["edges"] = network.edges();
  out["density"] = ratio(static_cast<double>(network.nnz()), all);
  out["bytes"] = bytes;
  out["dense_bytes"] = bytes_of(all, sizeof(float));
  out["chain"] = network.is_chain();
  out["scaling"] = scaling_names(network.scaling);
  out["layers"] = std::move(layers);
}

Json id_type(const std::optional<io::ElementType>& type) {
  return type ? Json(io::to_string(*type)) : Json(nullptr);
}

void describe_batch(const io::Catalog& catalog, Json& out) {
  const io::Batch batch = io::parse_batch(catalog);
  out["samples"] = batch.samples();
  out["features"] = batch.features.cols;
  out["matrix"] = describe_matrix(catalog, batch.features);
  out["labels"] = batch.labels;
  out["sample_id"] = id_type(batch.sample_id);
}

void describe_result(const io::Catalog& catalog, Json& out) {
  const io::Result result = io::parse_result(catalog);
  out["samples"] = result.samples;
  out["part"] = Json(nullptr);
  if (result.part) {
    out["part"] = {{"first", result.part->samples.begin}, {"of", result.part->of}};
  }
  out["categories"] = result.categories;
  out["top_k"] = result.top_k;
  out["output"] = result.output ? describe_matrix(catalog, *result.output) : Json(nullptr);
  out["sample_id"] = id_type(result.sample_id);
}

// "it holds /a, /b, ..."
std::string what_is_there(const io::Catalog& catalog) {
  constexpr std::size_t kMost = 8;
  const auto children = catalog.children("/");
  std::string names;
  for (std::size_t i = 0; i < children.size() && i < kMost; ++i) {
    names += (i > 0 ? ", /" : "/") + children[i];
  }
  return text("it holds ", names.empty() ? "nothing" : names,
              children.size() > kMost ? ", ..." : "");
}

}  // namespace

FileKind kind_of(const io::Catalog& catalog) {
  const std::string found = io::kind_of_file(catalog);
  for (const FileKind kind : {FileKind::kNetwork, FileKind::kBatch, FileKind::kResult}) {
    if (found == to_string(kind)) {
      return kind;
    }
  }
  throw Error(
      ExitStatus::kBadData,
      text(catalog.file, ": an HDF5 file, but no network (with /layers), batch (/features) ",
           "or result (/categories, /alive); ", what_is_there(catalog)));
}

std::string to_string(FileKind kind) {
  return kind == FileKind::kNetwork ? "network" : kind == FileKind::kBatch ? "batch" : "result";
}

nlohmann::ordered_json describe_file(const io::Catalog& catalog) {
  const FileKind kind = kind_of(catalog);
  Json out;
  out["file"] = catalog.file;
  out["kind"] = to_string(kind);
  out["file_bytes"] = catalog.file_bytes;
  out["checksums"] = catalog.find_dataset(io::kChecksumPath) != nullptr;
  out["provenance"] = io::origin_of(catalog);
  if (kind == FileKind::kNetwork) {
    describe_network(catalog, out);
  } else if (kind == FileKind::kBatch) {
    describe_batch(catalog, out);
  } else {
    describe_result(catalog, out);
  }
  return out;
}

}  // namespace espalier::jobs
