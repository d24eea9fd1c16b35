#include "io/network_window.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/error.hpp"
#include "io/input_file.hpp"

namespace espalier::io {
namespace {

using kernels::Window;
using nlohmann::json;

constexpr std::array<std::pair<std::string_view, LayerKind>, 5> kKinds = {{
    {"connections", LayerKind::kConnections},
    {"convolution", LayerKind::kConvolution},
    {"max_pool", LayerKind::kMaxPool},
    {"average_pool", LayerKind::kAveragePool},
    {"flatten", LayerKind::kFlatten},
}};

// Neurons have 32-bit numbers.
constexpr std::int64_t kMaxNeurons = std::int64_t{1} << 32;
// Of everything else that a window has.
constexpr std::int64_t kMaxStep = 65535;
constexpr double kMaxConnections = 0x1p48;  // far beyond memory; their bytes fit 64 bits

class WindowParser {
 public:
  WindowParser(const LayerAttributes& attributes, LayerKind kind, const MatrixInfo& weight)
      : attributes_(attributes), kind_(kind), weight_(weight) {}

  Window parse() const {
    Window window;
    const auto shape = numbers("input_shape", 3, {}, 1, kMaxNeurons);
    window.channels = window.out_channels = window.groups = shape[0];
    window.y.inputs = shape[1];
    window.x.inputs = shape[2];
    require_product({shape[0], shape[1], shape[2]}, "input");
    if (kind_ == LayerKind::kFlatten) {
      return window;
    }
    parse_axes(window);
    if (kind_ == LayerKind::kConvolution) {
      parse_channels(window);
    } else {
      check_pooling(window);
    }
    for (const kernels::WindowAxis& axis : {window.y, window.x}) {
      require(axis.fits(), "its window is ", window.y.extent(), " x ", window.x.extent(),
              ", larger than its input of ", window.y.inputs, " x ", window.x.inputs,
              " with the padding");
    }
    require_product({window.out_channels, window.y.outputs(), window.x.outputs()}, "output");
    const auto uses = static_cast<double>(window.y.pairs()) * static_cast<double>(window.x.pairs());
    const auto stored =
        kind_ == LayerKind::kConvolution ? weight_.stored / window.taps() : window.channels;
    require(uses * static_cast<double>(stored) <= kMaxConnections,
            "it makes more than 2^48 connections");
    return window;
  }

 private:
  template <typename... Parts>
  void require(bool condition, const Parts&... parts) const {
    if (!condition) {
      throw Error(ExitStatus::kBadData, text(attributes_.place, ": ", parts...));
    }
  }

  // `count` whole numbers from `least` to `most`; `otherwise` if the attribute may be absent.
  std::vector<std::int64_t> numbers(const char* name, std::size_t count,
                                    const std::vector<std::int64_t>& otherwise, std::int64_t least,
                                    std::int64_t most) const {
    const json* found = attributes_.find(name);
    if (found == nullptr) {
      require(!otherwise.empty(), "has no attribute '", name, "'; a layer of kind ",
              to_string(kind_), " has it");
      return otherwise;
    }
    const json list = found->is_array() ? *found : json::array({*found});
    std::vector<std::int64_t> values;
    for (const json& value : list) {
      const bool whole = value.is_number_integer() &&
                         (!value.is_number_unsigned() ||
                          value.get<std::uint64_t>() <= static_cast<std::uint64_t>(most));
      values.push_back(whole ? value.get<std::int64_t>() : least - 1);
    }
    bool right = values.size() == count;
    for (const std::int64_t value : values) {
      right = right && value >= least && value <= most;
    }
    constexpr std::size_t kShown = 60;
    require(right, "attribute '", name, "' is ",
            list.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, kShown), "; ",
            count, count == 1 ? " whole number" : " whole numbers", " from ", least, " to ", most,
            " would be right");
    return values;
  }

  void require_product(const std::array<std::int64_t, 3>& sides, const char* what) const {
    require(sides[0] <= kMaxNeurons / sides[1] && sides[0] * sides[1] <= kMaxNeurons / sides[2],
            "its ", what, " of ", sides[0], " x ", sides[1], " x ", sides[2], " has more than ",
            kMaxNeurons, " neurons");
  }

  void parse_axes(Window& window) const {
    const bool filters = weight_.format == MatrixFormat::kFilters;
    const bool convolution = kind_ == LayerKind::kConvolution;
    const std::vector<std::int64_t> own = {weight_.filter_height, weight_.filter_width};
    const auto kernel = numbers(
        "kernel", 2, filters && convolution ? own : std::vector<std::int64_t>(), 1, kMaxStep);
    require(!convolution || !filters || kernel == own, "attribute 'kernel' is ", kernel[0], " x ",
            kernel[1], " but its filters are ", own[0], " x ", own[1]);
    const std::vector<std::int64_t> ones = {1, 1};
    const auto strides = numbers("strides", 2, convolution ? ones : kernel, 1, kMaxStep);
    const auto dilation = numbers("dilation", 2, ones, 1, kMaxStep);
    const auto padding = numbers("padding", 4, {0, 0, 0, 0}, 0, kMaxStep);
    window.y = {window.y.inputs, kernel[0], strides[0], padding[0], padding[2], dilation[0]};
    window.x = {window.x.inputs, kernel[1], strides[1], padding[1], padding[3], dilation[1]};
    require(window.y.kernel <= kMaxStep && window.x.kernel <= kMaxStep, "its filters are ", own[0],
            " x ", own[1], ", at most ", kMaxStep, " a side are supported");
  }

  void parse_channels(Window& window) const {
    require(weight_.format == MatrixFormat::kFilters || weight_.format == MatrixFormat::kDmat,
            "its weight is a ", to_string(weight_.format),
            "; filters or a DMAT of output channels x (input channels of a group x taps) would be "
            "right for a convolution");
    window.out_channels = weight_.rows;
    window.groups = numbers("groups", 1, {1}, 1, kMaxNeurons)[0];
    require(window.channels % window.groups == 0 && window.out_channels % window.groups == 0,
            "its ", window.channels, " input and ", window.out_channels,
            " output channels cannot be dealt evenly to ", window.groups, " groups");
    require(window.group_channels() <= weight_.cols &&
                weight_.cols % window.group_channels() == 0 &&
                weight_.cols / window.group_channels() == window.taps(),
            "its weight has ", weight_.cols, " columns; ", window.group_channels(),
            " input channels of a group with ", window.y.kernel, " x ", window.x.kernel,
            " taps would be right");
  }

  void check_pooling(Window& window) const {
    for (const kernels::WindowAxis& axis : {window.y, window.x}) {
      require(axis.pad_begin < axis.extent() && axis.pad_end < axis.extent(), "its padding is ",
              std::max(axis.pad_begin, axis.pad_end), " but its window is ", axis.extent(),
              " long; less padding would be right");
    }
    window.count_padding =
        kind_ == LayerKind::kAveragePool && numbers("count_padding", 1, {0}, 0, 1)[0] == 1;
  }

  const LayerAttributes& attributes_;
  LayerKind kind_;
  const MatrixInfo& weight_;
};

}  // namespace

std::string to_string(LayerKind kind) {
  for (const auto& [name, known] : kKinds) {
    if (known == kind) {
      return std::string(name);
    }
  }
  throw BugError("every kind has a name");
}

LayerAttributes attributes_of(const Catalog& catalog, std::int64_t layer) {
  return {text(catalog.file, ": layer ", layer),
          [&catalog, group = group_of_layer(layer)](const char* name) {
            return catalog.find_attribute(group, name);
          }};
}

LayerKind parse_kind(const LayerAttributes& attributes) {
  const json* found = attributes.find("kind");
  if (found == nullptr) {
    return LayerKind::kConnections;
  }
  std::string names;
  for (const auto& [name, kind] : kKinds) {
    if (found->is_string() && found->get_ref<const std::string&>() == name) {
      return kind;
    }
    names += text(names.empty() ? "" : ", ", name);
  }
  throw Error(
      ExitStatus::kBadData,
      text(attributes.place, ": attribute 'kind' is ",
           found->is_string() ? io::in_quotes(found->get<std::string>()) : std::string("no text"),
           "; known are ", names));
}

Window parse_window(const LayerAttributes& attributes, LayerKind kind, const MatrixInfo& weight) {
  return WindowParser(attributes, kind, weight).parse();
}

void add_window_attributes(StagedFile& file, const std::string& group, const Layer& layer) {
  const Window& window = layer.window;
  if (layer.kind == LayerKind::kConnections) {
    return;
  }
  using List = std::vector<std::int64_t>;
  file.add_attribute(group, "kind", to_string(layer.kind));
  file.add_attribute(group, "input_shape", List{window.channels, window.y.inputs, window.x.inputs});
  if (layer.kind == LayerKind::kFlatten) {
    return;
  }
  file.add_attribute(group, "kernel", List{window.y.kernel, window.x.kernel});
  file.add_attribute(group, "strides", List{window.y.stride, window.x.stride});
  file.add_attribute(
      group, "padding",
      List{window.y.pad_begin, window.x.pad_begin, window.y.pad_end, window.x.pad_end});
  file.add_attribute(group, "dilation", List{window.y.dilation, window.x.dilation});
  if (layer.kind == LayerKind::kConvolution) {
    file.add_attribute(group, "groups", window.groups);
  }
  if (layer.kind == LayerKind::kAveragePool) {
    file.add_attribute(group, "count_padding", window.count_padding ? 1 : 0);
  }
}

std::int64_t Layer::outputs() const noexcept {
  return kind == LayerKind::kConnections ? weight.rows : window.outputs();
}

std::int64_t Layer::width() const noexcept {
  return kind == LayerKind::kConnections ? weight.cols : window.inputs();
}

std::int64_t Layer::connections() const noexcept {
  if (kind == LayerKind::kConnections) {
    return weight.stored;
  }
  const bool filters = kind == LayerKind::kConvolution;
  const std::int64_t planes = filters ? weight.stored / window.taps() : window.channels;
  return planes * window.y.pairs() * window.x.pairs();
}

}  // namespace espalier::io
