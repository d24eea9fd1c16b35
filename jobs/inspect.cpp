// espalier inspect: what is in a file.
#include <array>
#include <charconv>

#include "framework/agree.hpp"
#include "io/network_file.hpp"
#include "io/network_window.hpp"
#include "jobs/describe.hpp"
#include "jobs/job.hpp"

namespace espalier::jobs {
namespace {

using Json = nlohmann::ordered_json;

std::string spelled(const Json& description) {
  return description.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// With as many digits as tell it from its neighbours.
std::string shortest(float value) {
  std::array<char, 64> place{};
  const auto [end, error] = std::to_chars(place.data(), place.data() + place.size(), value);
  expects(error == std::errc(), "a float has at most 64 characters");
  return {place.data(), end};
}

// "3,17,402" as three numbers.
std::array<std::int64_t, 3> parse_place(const Options& options) {
  const std::string spelled = options.text("weight");
  std::array<std::int64_t, 3> place{};
  const char* at = spelled.data();
  const char* const end = at + spelled.size();
  for (std::int64_t& number : place) {
    const auto [rest, error] = std::from_chars(at, end, number);
    const bool last = &number == &place.back();
    if (error != std::errc() || number < 0 || (last ? rest != end : rest == end || *rest != ',')) {
      throw options.fault("weight", "right is LAYER,OUTPUT,INPUT, each counted from 0");
    }
    at = rest + (last ? 0 : 1);
  }
  return place;
}

// One connection, found without reading the layer; described by rank 0.
std::string find_connection(const Context& context, const io::Catalog& catalog,
                            const std::array<std::int64_t, 3>& place) {
  const auto& [layer, output, input] = place;
  const io::NetworkReader reader(catalog);
  const auto& layers = reader.network().layers;
  if (layer >= std::ssize(layers)) {
    throw context.options.fault(
        "weight", text("there is no layer ", layer, "; ", catalog.file, " has ", layers.size()));
  }
  const io::Layer& of = layers[static_cast<std::size_t>(layer)];
  const io::MatrixInfo& matrix = of.weight;
  if (!of.has_weights()) {
    throw context.options.fault(
        "weight", text("layer ", layer, " is of kind ", io::to_string(of.kind), " and has none"));
  }
  if (output >= matrix.rows || input >= matrix.cols) {
    throw context.options.fault(
        "weight",
        text("layer ", layer, " is ", matrix.rows, " x ", matrix.cols,
             of.kind == io::LayerKind::kConvolution ? " (output channels x input channel, y, x)"
                                                    : " (outputs x inputs)"));
  }
  const auto weight = io::find_weight(reader.data(), matrix, output, input);
  const std::int64_t bytes = reader.data().bytes_read();
  if (context.options.flag("json")) {
    Json out;
    out["layer"] = layer;
    out["output"] = output;
    out["input"] = input;
    out["format"] = io::to_string(matrix.format);
    out["stored"] = weight.has_value();
    out["weight"] = weight.value_or(0);
    out["bytes_read"] = bytes;
    return spelled(out);
  }
  const std::string read = context.options.flag("verbose") ? text(" (", bytes, " bytes read)") : "";
  return text("layer ", layer, ", output ", output, ", input ", input, ": ",
              weight ? shortest(*weight) : "no connection", read, "\n");
}

ExitStatus inspect(Context& context) {
  const std::string file = context.options.text("file");
  const bool one = context.options.given("weight");
  const auto place = one ? parse_place(context.options) : std::array<std::int64_t, 3>{};
  const io::Catalog catalog = [&] {
    const PhaseTimer timer(context.times, Phase::kRead);
    return io::read_catalog(context.world, file);
  }();
  const std::string lines = locally(context.world, text("inspecting ", file), [&] {
    if (one) {
      return context.world.rank() == 0 ? find_connection(context, catalog, place) : std::string();
    }
    const auto description = describe_file(catalog);
    return context.options.flag("json")
               ? spelled(description)
               : description_table(description, context.options.flag("verbose"));
  });
  context.print(lines);
  return ExitStatus::kDone;
}

}  // namespace

Job inspect_job() {
  namespace po = boost::program_options;
  Job job;
  job.name = "inspect";
  job.summary = "show what is in a network, batch or result file";
  job.usage = "inspect FILE [--weight LAYER,OUT,IN] [--json]";
  job.examples = {"espalier inspect net.h5", "espalier inspect net.h5 --verbose",
                  "espalier inspect net.h5 --weight 0,12,345", "espalier inspect result.h5 --json"};
  job.positional = {"file"};
  // clang-format off
  job.options.add_options()
      ("file", po::value<std::string>()->required(), "network, batch or result")
      ("weight", po::value<std::string>()->value_name("LAYER,OUT,IN"),
       "show the weight of one connection, counted from 0, without reading the layer")
      ("json", po::bool_switch(), "print everything as JSON");
  // clang-format on
  job.run = inspect;
  return job;
}

}  // namespace espalier::jobs
