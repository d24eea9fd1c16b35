// The parsing half of network_file.hpp: a network's structure, checked.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "framework/error.hpp"
#include "io/file_kind.hpp"
#include "io/input_file.hpp"
#include "io/network_file.hpp"
#include "io/network_window.hpp"

namespace espalier::io {
namespace {

using kernels::Activation;
using nlohmann::json;

constexpr float kDefaultSlope = 0.01F;
constexpr float kDefaultEluLimit = 1.0F;

constexpr std::array<std::pair<std::string_view, Activation>, 9> kActivations = {{
    {"identity", Activation::kIdentity},
    {"relu", Activation::kRelu},
    {"leaky_relu", Activation::kLeakyRelu},
    {"elu", Activation::kElu},
    {"gelu", Activation::kGelu},
    {"silu", Activation::kSilu},
    {"sigmoid", Activation::kSigmoid},
    {"tanh", Activation::kTanh},
    {"softmax", Activation::kSoftmax},
}};

std::string known_activations() {
  std::string list;
  for (const auto& [name, activation] : kActivations) {
    list += text(list.empty() ? "" : ", ", name);
  }
  return list;
}

// An attribute's value for a message.
std::string shown(const json& value) {
  if (value.is_string()) {
    return io::in_quotes(value.get_ref<const std::string&>());
  }
  constexpr std::size_t kShown = 40;
  return value.is_null()
             ? "of another type"
             : value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, kShown);
}

// Reads one layer's group; every complaint names file and layer.
class LayerParser {
 public:
  LayerParser(const Catalog& catalog, std::int64_t id, std::int64_t layers)
      : catalog_(catalog), id_(id), layers_(layers), group_(group_of_layer(id)) {}

  Layer parse() const {
    Layer layer;
    layer.name = text_attribute("name", text("layer-", id_));
    layer.kind = parse_kind(attributes_of(catalog_, id_));
    layer.weight = parse_weight(layer);
    layer.bias = parse_bias(layer.weight.rows);
    require(layer.has_weights() || layer.bias == BiasKind::kNone, "a layer of kind ",
            to_string(layer.kind), " has no bias");
    if (layer.kind != LayerKind::kConnections) {
      layer.window = parse_window(attributes_of(catalog_, id_), layer.kind, layer.weight);
    }
    layer.epilogue = parse_epilogue();
    layer.inputs = parse_inputs();
    return layer;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void complain(const Parts&... parts) const {
    throw Error(ExitStatus::kBadData, text(catalog_.file, ": layer ", id_, ": ", parts...));
  }
  template <typename... Parts>
  void require(bool condition, const Parts&... parts) const {
    if (!condition) {
      complain(parts...);
    }
  }

  MatrixInfo parse_weight(const Layer& layer) const {
    if (!layer.has_weights()) {
      require(!catalog_.objects.contains(group_ + "/weight"), "a layer of kind ",
              to_string(layer.kind), " has no weight");
      MatrixInfo none;
      none.group = group_ + "/weight";
      return none;
    }
    const MatrixInfo weight = parse_matrix(catalog_, group_ + "/weight");
    require(weight.format != MatrixFormat::kDvec,
            "its weight is a vector (DVEC); CSR, COO or DMAT would be right");
    require(weight.format != MatrixFormat::kFilters || layer.kind == LayerKind::kConvolution,
            "its weight are filters, but its kind is ", to_string(layer.kind),
            "; convolution would be right");
    require(weight.rows > 0 && weight.cols > 0, "its weight is ", weight.rows, " x ", weight.cols,
            "; a layer has at least one output and one input");
    return weight;
  }

  const json* attribute(const char* name) const { return catalog_.find_attribute(group_, name); }

  std::string text_attribute(const char* name, const std::string& otherwise) const {
    const json* found = attribute(name);
    if (found == nullptr) {
      return otherwise;
    }
    require(found->is_string(), "attribute '", name, "' is ", shown(*found),
            "; text would be right");
    return found->get<std::string>();
  }

  std::optional<float> number_attribute(const char* name) const {
    const json* found = attribute(name);
    if (found == nullptr) {
      return std::nullopt;
    }
    // An array of one element is how some writers store a scalar.
    const json& value = found->is_array() && found->size() == 1 ? found->front() : *found;
    require(value.is_number(), "attribute '", name, "' is ", shown(value),
            "; a number would be right");
    const auto number = value.get<double>();
    require(std::abs(number) <= std::numeric_limits<float>::max(), "attribute '", name, "' is ",
            number, "; a finite float32 would be right");
    return static_cast<float>(number);
  }

  BiasKind parse_bias(std::int64_t outputs) const {
    const std::string path = group_ + "/bias";
    if (!catalog_.objects.contains(path)) {
      return BiasKind::kNone;
    }
    const MatrixInfo bias = parse_matrix(catalog_, path);
    require(bias.format == MatrixFormat::kDvec, "its bias is a ", to_string(bias.format),
            "; DVEC would be right");
    require(bias.rows == outputs, "its bias has ", bias.rows, " values for ", outputs, " outputs");
    return bias.iso ? BiasKind::kIso : BiasKind::kFull;
  }

  kernels::Epilogue parse_epilogue() const {
    kernels::Epilogue epilogue;
    const std::string name = text_attribute("activation", "identity");
    const auto activation = parse_activation(name);
    require(activation.has_value(), "activation ", io::in_quotes(name), " is not known; known are ",
            known_activations());
    require(*activation != Activation::kSoftmax || id_ == layers_ - 1,
            "its activation is softmax, which only the last layer (", layers_ - 1, ") may have");
    epilogue.activation = *activation;
    epilogue.alpha = number_attribute("alpha").value_or(
        *activation == Activation::kElu ? kDefaultEluLimit : kDefaultSlope);
    if (const auto clamp = number_attribute("clamp")) {
      epilogue.has_clamp = true;
      epilogue.clamp = *clamp;
    }
    const std::string mode = text_attribute("bias_mode", "always");
    require(mode == "always" || mode == "nonzero", "bias_mode ", io::in_quotes(mode),
            " is not known; known are always, nonzero");
    epilogue.bias_where_nonzero = mode == "nonzero";
    return epilogue;
  }

  std::vector<std::int64_t> parse_inputs() const {
    const json* found = attribute("inputs");
    if (found == nullptr) {
      return {id_ - 1};
    }
    if (*found == "unknown") {
      return {};
    }
    const json list = found->is_array() ? *found : json::array({*found});
    require(!list.empty(), "attribute 'inputs' is empty; a layer has at least one input");
    std::vector<std::int64_t> inputs;
    for (const json& value : list) {
      const bool whole = value.is_number_integer() &&
                         (!value.is_number_unsigned() ||
                          value.get<std::uint64_t>() <= static_cast<std::uint64_t>(layers_));
      const auto input = whole ? value.get<std::int64_t>() : layers_;
      require(input >= kNetworkInput && input < layers_, "its input ", shown(value),
              " is no layer; layers are 0 to ", layers_ - 1, ", the network's input is -1");
      inputs.push_back(input);
    }
    return inputs;
  }

  const Catalog& catalog_;
  std::int64_t id_;
  std::int64_t layers_;
  std::string group_;
};

// The names below /layers are 000000, 000001, … without gaps.
std::int64_t count_layers(const Catalog& catalog) {
  const auto names = catalog.children("/layers");
  if (!catalog.has_group("/layers") || names.empty()) {
    throw Error(ExitStatus::kBadData,
                text(catalog.file,
                     ": a network has at least one layer, but there is nothing in "
                     "/layers"));
  }
  const auto layers = std::ssize(names);
  for (std::int64_t id = 0; id < layers; ++id) {
    if (!catalog.has_group(group_of_layer(id))) {
      const auto stranger = std::find_if(names.begin(), names.end(), [&](const auto& name) {
        return name.size() < 6 || name.find_first_not_of("0123456789") != std::string::npos;
      });
      throw Error(ExitStatus::kBadData,
                  stranger != names.end()
                      ? text(catalog.file, ": /layers holds ", io::in_quotes(*stranger),
                             "; layers are named 000000, 000001, ...")
                      : text(catalog.file, ": there is no layer ", group_of_layer(id),
                             " among the ", layers, " in /layers"));
    }
  }
  return layers;
}

std::string list_ids(const std::vector<std::int64_t>& ids) {
  std::string list;
  for (const std::int64_t id : ids) {
    list += text(list.empty() ? "" : ", ", id);
  }
  return list;
}

// Layer 0 decides how wide the network's input is, all others have to fit.
void check_widths(const Catalog& catalog, const Network& network) {
  const Layer& first = network.layers.front();
  const auto unknown = std::count_if(network.layers.begin(), network.layers.end(),
                                     [](const Layer& layer) { return layer.inputs.empty(); });
  if (unknown == std::ssize(network.layers)) {
    return;
  }
  if (unknown != 0) {
    throw Error(ExitStatus::kBadData,
                text(catalog.file, ": the inputs of ", unknown, " of ", network.layers.size(),
                     " layers are unknown; all or none would be right"));
  }
  if (std::count(first.inputs.begin(), first.inputs.end(), kNetworkInput) != 1 ||
      network.inputs() < 1) {
    throw Error(ExitStatus::kBadData,
                text(catalog.file, ": layer 0 takes ", first.width(), " inputs from layers ",
                     list_ids(first.inputs),
                     "; it must take the network's input (-1) once, at least 1 wide"));
  }
  for (std::size_t id = 1; id < network.layers.size(); ++id) {
    const Layer& layer = network.layers[id];
    std::int64_t width = 0;
    for (const std::int64_t input : layer.inputs) {
      width += input == kNetworkInput ? network.inputs()
                                      : network.layers[static_cast<std::size_t>(input)].outputs();
    }
    if (width != layer.width()) {
      const bool one = layer.inputs.size() == 1;
      throw Error(ExitStatus::kBadData,
                  text(catalog.file, ": layer ", id, " ('", layer.name, "') takes ", layer.width(),
                       " inputs but layer", one ? " " : "s ", list_ids(layer.inputs),
                       one ? " gives " : " together give ", width, " outputs"));
    }
  }
}

// Whether the vector is there; checks its shape.
bool find_scaling(const Catalog& catalog, const std::string& name, std::int64_t width) {
  const std::string path = "/" + name;
  if (!catalog.objects.contains(path)) {
    return false;
  }
  const Dataset& dataset = catalog.dataset(path);
  const ElementClass kind = dataset.type.kind;
  const bool number = kind == ElementClass::kUnsigned || kind == ElementClass::kSigned ||
                      kind == ElementClass::kFloat;
  if (!number || dataset.shape != std::vector{width}) {
    throw Error(
        ExitStatus::kBadData,
        text(catalog.file, ": ", path, " is ", to_string(dataset.type), " of shape ",
             json(dataset.shape).dump(), "; float32 of shape [", width, "] would be right"));
  }
  return true;
}

}  // namespace

std::string group_of_layer(std::int64_t layer) {
  constexpr std::size_t kDigits = 6;
  const std::string number = std::to_string(layer);
  return "/layers/" + std::string(kDigits - std::min(kDigits, number.size()), '0') + number;
}

std::string to_string(Activation activation) {
  const auto found = std::find_if(kActivations.begin(), kActivations.end(),
                                  [&](const auto& known) { return known.second == activation; });
  expects(found != kActivations.end(), "every activation has a name");
  return std::string(found->first);
}

std::optional<Activation> parse_activation(std::string_view name) {
  const auto found = std::find_if(kActivations.begin(), kActivations.end(),
                                  [&](const auto& known) { return known.first == name; });
  return found == kActivations.end() ? std::nullopt : std::optional(found->second);
}

std::int64_t Network::nnz() const {
  std::int64_t sum = 0;
  for (const Layer& layer : layers) {
    sum += layer.weight.stored;
  }
  return sum;
}

std::int64_t Network::edges() const {
  std::int64_t sum = 0;
  for (const Layer& layer : layers) {
    sum += layer.edges();
  }
  return sum;
}

std::int64_t Network::inputs() const {
  std::int64_t width = layers.front().width();
  for (const std::int64_t input : layers.front().inputs) {
    if (input != kNetworkInput) {
      width -= layers.at(static_cast<std::size_t>(input)).outputs();
    }
  }
  return width;
}

bool Network::is_chain() const {
  for (std::size_t id = 0; id < layers.size(); ++id) {
    if (layers[id].inputs != std::vector{static_cast<std::int64_t>(id) - 1}) {
      return false;
    }
  }
  return true;
}

Network parse_network(const Catalog& catalog) {
  expect_kind(catalog, "network");
  Network network;
  const std::int64_t layers = count_layers(catalog);
  network.layers.reserve(static_cast<std::size_t>(layers));
  for (std::int64_t id = 0; id < layers; ++id) {
    network.layers.push_back(LayerParser(catalog, id, layers).parse());
  }
  check_widths(catalog, network);
  network.scaling.input_scale = find_scaling(catalog, "input_scale", network.inputs());
  network.scaling.input_shift = find_scaling(catalog, "input_shift", network.inputs());
  network.scaling.output_scale = find_scaling(catalog, "output_scale", network.outputs());
  network.scaling.output_shift = find_scaling(catalog, "output_shift", network.outputs());
  return network;
}

}  // namespace espalier::io
