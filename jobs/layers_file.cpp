#include "jobs/layers_file.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/input_file.hpp"
#include "io/json_text.hpp"
#include "io/network_window.hpp"

namespace espalier::jobs {
namespace {

using kernels::Activation;
using nlohmann::json;

constexpr std::int64_t kMostBytes = INT64_C(100) << 20;
constexpr std::array kKeys = {"weight",    "bias",   "activation", "alpha", "clamp",
                              "bias_mode", "inputs", "kind",       "name"};
// Of kinds that have a window.
constexpr std::array kWindowKeys = {"input_shape", "kernel", "strides",      "padding",
                                    "dilation",    "groups", "count_padding"};

bool has_weights(io::LayerKind kind) {
  io::Layer layer;
  layer.kind = kind;
  return layer.has_weights();
}

io::LayerAttributes attributes_in(const std::string& place, const json& entry) {
  return {place, [&entry](const char* name) {
            const auto found = entry.find(name);
            return found == entry.end() ? nullptr : &*found;
          }};
}

// What `inputs` may call a layer; empty: nothing.
std::string name_in(const json& entry) {
  for (const char* key : {"weight", "name"}) {
    if (entry.contains(key) && entry[key].is_string()) {
      return entry[key].get<std::string>();
    }
  }
  return {};
}

// Reads one entry of a list; every complaint names file and layer.
class EntryParser {
 public:
  EntryParser(const std::string& file, const json& list, std::size_t id,
              const std::map<std::string, std::int64_t>& numbers)
      : file_(file),
        id_(static_cast<std::int64_t>(id)),
        layers_(static_cast<std::int64_t>(list.size())),
        entry_(list[id]),
        numbers_(numbers) {}

  StatedLayer parse() const {
    StatedLayer layer;
    layer.kind = io::parse_kind(attributes_in(text(file_, ": layer ", id_), entry_));
    check_keys(layer.kind);
    layer.entry = entry_;
    if (has_weights(layer.kind)) {
      require(find("weight") != nullptr && find("weight")->is_string(),
              "has no text weight; right is the name of a tensor of its own");
      require(find("name") == nullptr, "has a name; it bears that of its weight");
      layer.weight = entry_["weight"].get<std::string>();
    } else {
      require(find("weight") == nullptr && find("bias") == nullptr,
              "has a weight or a bias, but a layer of kind ", io::to_string(layer.kind),
              " has neither");
      layer.name = name_in(entry_).empty() ? text("layer-", id_) : name_in(entry_);
    }
    if (const json* bias = find("bias")) {
      require(bias->is_null() || bias->is_string(),
              "its bias is neither the name of a tensor nor null");
      layer.bias = bias->is_null() ? std::string() : bias->get<std::string>();
    }
    parse_epilogue(layer.epilogue);
    layer.inputs = parse_inputs();
    return layer;
  }

 private:
  void check_keys(io::LayerKind kind) const {
    std::vector<std::string_view> known(kKeys.begin(), kKeys.end());
    if (kind != io::LayerKind::kConnections) {
      known.insert(known.end(), kWindowKeys.begin(), kWindowKeys.end());
    }
    std::string right;
    for (const std::string_view key : known) {
      right += text(right.empty() ? "" : ", ", key);
    }
    for (const auto& [key, value] : entry_.items()) {
      require(std::find(known.begin(), known.end(), key) != known.end(), "of kind ",
              io::to_string(kind), " has a key ", io::in_quotes(key), "; right are ", right);
    }
  }

  template <typename... Parts>
  void require(bool condition, const Parts&... parts) const {
    if (!condition) {
      throw Error(ExitStatus::kBadData, text(file_, ": layer ", id_, " ", parts...));
    }
  }

  const json* find(const char* key) const {
    const auto found = entry_.find(key);
    return found == entry_.end() ? nullptr : &*found;
  }

  std::optional<float> number(const char* key) const {
    const json* found = find(key);
    if (found == nullptr) {
      return std::nullopt;
    }
    require(
        found->is_number() && std::abs(found->get<double>()) <= std::numeric_limits<float>::max(),
        "its ", key, " is no finite number");
    return static_cast<float>(found->get<double>());
  }

  void parse_epilogue(kernels::Epilogue& epilogue) const {
    if (const json* name = find("activation")) {
      const auto activation =
          name->is_string() ? io::parse_activation(name->get<std::string>()) : std::nullopt;
      require(activation.has_value(), "its activation is ",
              name->dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 40),
              ", which is not known; io/FORMAT.md lists those that are");
      epilogue.activation = *activation;
    }
    require(epilogue.activation != Activation::kSoftmax || id_ + 1 == layers_,
            "its activation is softmax, which only the last layer may have");
    epilogue.alpha =
        number("alpha").value_or(epilogue.activation == Activation::kElu ? 1.0F : 0.01F);
    if (const auto clamp = number("clamp")) {
      epilogue.has_clamp = true;
      epilogue.clamp = *clamp;
    }
    if (const json* mode = find("bias_mode")) {
      require(*mode == "always" || *mode == "nonzero",
              "its bias_mode is neither always nor "
              "nonzero");
      epilogue.bias_where_nonzero = *mode == "nonzero";
    }
  }

  std::vector<std::int64_t> parse_inputs() const {
    const json* found = find("inputs");
    if (found == nullptr) {
      return {id_ - 1};
    }
    require(found->is_array() && !found->empty(), "its inputs are no list of layers");
    std::vector<std::int64_t> inputs;
    for (const json& input : *found) {
      const auto named =
          input.is_string() ? numbers_.find(input.get<std::string>()) : numbers_.end();
      const bool number = input.is_number_integer() && input >= json(-1) && input < json(layers_);
      require(number || named != numbers_.end(), "its input ",
              input.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 60),
              " is no layer; right are numbers from 0 on, names of weights or layers, and -1 for "
              "the network's input");
      inputs.push_back(number ? input.get<std::int64_t>() : named->second);
    }
    return inputs;
  }

  const std::string& file_;
  std::int64_t id_, layers_;
  const json& entry_;
  const std::map<std::string, std::int64_t>& numbers_;
};

}  // namespace

std::vector<StatedLayer> parse_layers_file(const std::string& file, const std::string& spelled) {
  const json root = io::parse_json(spelled);
  if (!root.is_array() || root.empty()) {
    throw Error(ExitStatus::kBadData,
                text(file,
                     ": is no layers file; right is a JSON list of "
                     "{\"weight\": \"TENSOR\", \"activation\": \"relu\", …}, one a layer"));
  }
  if (const auto key = io::repeated_key(spelled)) {
    throw Error(ExitStatus::kBadData, text(file, ": a layer has the key ", io::in_quotes(*key, 100),
                                           " twice; keys occur once"));
  }
  std::map<std::string, std::int64_t> numbers;
  for (std::size_t id = 0; id < root.size(); ++id) {
    const auto number = static_cast<std::int64_t>(id);
    if (!root[id].is_object()) {
      throw Error(ExitStatus::kBadData,
                  text(file, ": layer ", id, " is no object of keys and values"));
    }
    const std::string name = name_in(root[id]);
    if (!name.empty() && !numbers.emplace(name, number).second) {
      throw Error(ExitStatus::kBadData,
                  text(file, ": layer ", id, " has the weight or name of another one"));
    }
  }
  std::vector<StatedLayer> layers;
  for (std::size_t id = 0; id < root.size(); ++id) {
    layers.push_back(EntryParser(file, root, id, numbers).parse());
  }
  return layers;
}

std::vector<StatedLayer> read_layers_file(const Comm& comm, const std::string& file) {
  std::string spelled;
  on_root(comm, "reading " + file, [&] {
    const io::InputFile opened(file);
    if (opened.size() > kMostBytes) {
      throw Error(ExitStatus::kBadData, text(file, ": has ", opened.size(), " bytes, at most ",
                                             kMostBytes, " would be right"));
    }
    spelled.resize(static_cast<std::size_t>(opened.size()));
    opened.read(0, std::as_writable_bytes(std::span(spelled)));
  });
  spelled = comm.broadcast_string(spelled, 0);
  return locally(comm, "reading " + file, [&] { return parse_layers_file(file, spelled); });
}

kernels::Window stated_window(const std::string& place, const StatedLayer& stated,
                              const io::Layer& layer, const std::vector<std::int64_t>& tensor,
                              const io::Layer* before) {
  json entry = stated.entry;
  const bool image = before != nullptr && before->kind != io::LayerKind::kConnections &&
                     before->kind != io::LayerKind::kFlatten;
  if (!entry.contains("input_shape") && image) {
    const kernels::Window& from = before->window;
    entry["input_shape"] = {from.out_channels, from.y.outputs(), from.x.outputs()};
  }
  if (!entry.contains("kernel") && tensor.size() == 4) {
    entry["kernel"] = {tensor[2], tensor[3]};
  } else if (!entry.contains("kernel") && tensor.size() == 3) {
    entry["kernel"] = {std::int64_t{1}, tensor[2]};
  }
  return io::parse_window(attributes_in(place, entry), layer.kind, layer.weight);
}

void check_stated_widths(const std::string& file, const io::Network& network) {
  const io::Layer& first = network.layers.front();
  if (std::count(first.inputs.begin(), first.inputs.end(), io::kNetworkInput) != 1 ||
      network.inputs() < 1) {
    throw Error(ExitStatus::kBadData,
                text(file, ": layer 0 must take the network's input (-1) once, at least 1 wide"));
  }
  for (std::size_t id = 1; id < network.layers.size(); ++id) {
    std::int64_t width = 0;
    for (const std::int64_t input : network.layers[id].inputs) {
      width += input == io::kNetworkInput
                   ? network.inputs()
                   : network.layers[static_cast<std::size_t>(input)].outputs();
    }
    if (width != network.layers[id].width()) {
      throw Error(ExitStatus::kBadData,
                  text(file, ": layer ", id, " (", network.layers[id].name, ") takes ",
                       network.layers[id].width(), " inputs, but what it reads gives ", width));
    }
  }
}

}  // namespace espalier::jobs
