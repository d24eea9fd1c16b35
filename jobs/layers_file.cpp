#include "jobs/layers_file.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/input_file.hpp"
#include "io/json_text.hpp"

namespace espalier::jobs {
namespace {

using kernels::Activation;
using nlohmann::json;

constexpr std::int64_t kMostBytes = INT64_C(100) << 20;

// Reads one entry; every complaint names file and layer.
class EntryParser {
 public:
  EntryParser(const std::string& file, std::int64_t id, const json& entry,
              const std::map<std::string, std::int64_t>& numbers)
      : file_(file), id_(id), entry_(entry), numbers_(numbers) {}

  StatedLayer parse() const {
    for (const auto& [key, value] : entry_.items()) {
      const bool known = key == "weight" || key == "bias" || key == "activation" ||
                         key == "alpha" || key == "clamp" || key == "bias_mode" || key == "inputs";
      require(known, "has a key ", io::in_quotes(key),
              "; right are weight, bias, activation, alpha, clamp, bias_mode, inputs");
    }
    StatedLayer layer;
    layer.weight = entry_.at("weight").get<std::string>();
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
    require(epilogue.activation != Activation::kSoftmax ||
                id_ + 1 == static_cast<std::int64_t>(numbers_.size()),
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
      const bool number = input.is_number_integer() && input >= json(-1) &&
                          input < json(static_cast<std::int64_t>(numbers_.size()));
      require(number || named != numbers_.end(), "its input ",
              input.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 60),
              " is no layer; right are numbers from 0 on, names of weights, and -1 for the "
              "network's input");
      inputs.push_back(number ? input.get<std::int64_t>() : named->second);
    }
    return inputs;
  }

  const std::string& file_;
  std::int64_t id_;
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
  std::map<std::string, std::int64_t> numbers;
  for (const json& entry : root) {
    const auto id = static_cast<std::int64_t>(numbers.size());
    const bool named = entry.is_object() && entry.contains("weight") && entry["weight"].is_string();
    if (!named || !numbers.emplace(entry["weight"].get<std::string>(), id).second) {
      throw Error(ExitStatus::kBadData,
                  text(file, ": layer ", id,
                       named ? " has the weight of another one" : " has no text weight",
                       "; right is the name of a tensor of its own"));
    }
  }
  std::vector<StatedLayer> layers;
  for (const json& entry : root) {
    layers.push_back(EntryParser(file, std::ssize(layers), entry, numbers).parse());
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
                   : network.layers[static_cast<std::size_t>(input)].weight.rows;
    }
    if (width != network.layers[id].weight.cols) {
      throw Error(ExitStatus::kBadData,
                  text(file, ": layer ", id, " (", network.layers[id].name, ") takes ",
                       network.layers[id].weight.cols, " inputs, but what it reads gives ", width));
    }
  }
}

}  // namespace espalier::jobs
