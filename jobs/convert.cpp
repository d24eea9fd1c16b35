// espalier convert: a network in another representation.
#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/checksum.hpp"
#include "io/network_file.hpp"
#include "jobs/job.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/pieces.hpp"
#include "jobs/spelling.hpp"
#include "jobs/turned_layer.hpp"

namespace espalier::jobs {
namespace {

using io::MatrixFormat;
using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

const std::vector<std::pair<std::string, MatrixFormat>> kForms = {
    {"csr", MatrixFormat::kCsr},      {"csc", MatrixFormat::kCsc},
    {"triplets", MatrixFormat::kCoo}, {"tensor", MatrixFormat::kTensor},
    {"map", MatrixFormat::kMap},      {"list", MatrixFormat::kList},
    {"vector", MatrixFormat::kVector}};

struct Settings {
  std::string to, values;
  MatrixFormat format = MatrixFormat::kCsr;
  std::int64_t block_rows = 1, block_cols = 1;
};

Settings read_settings(const Options& options) {
  Settings settings;
  std::vector<std::string> names;
  for (const auto& [name, format] : kForms) {
    names.push_back(name);
  }
  settings.to = options.choice("to", names);
  settings.values = options.choice("values", {"iso", "full", "float32"});
  settings.format =
      kForms[to_size(std::find(names.begin(), names.end(), settings.to) - names.begin())].second;
  const std::string block = options.text("block");
  const std::size_t times = block.find('x');
  const auto rows = read_integer(block.substr(0, times));
  const auto cols =
      times == std::string::npos ? std::nullopt : read_integer(block.substr(times + 1));
  if (!rows || !cols || *rows < 1 || *cols < 1 || *cols > io::kMostBlockValues ||
      *rows > io::kMostBlockValues / *cols) {
    throw options.fault("block", text("right is ROWSxCOLUMNS, as in 4x4, at most ",
                                      io::kMostBlockValues, " values in all"));
  }
  settings.block_rows = *rows;
  settings.block_cols = *cols;
  if (settings.format != MatrixFormat::kTensor && options.given("block")) {
    throw options.fault("block", "is for --to tensor only");
  }
  return settings;
}

// What all steps of a run need; borrowed.
struct Conversion {
  Context& context;
  const io::NetworkReader& reader;
  const Settings& settings;
  PieceMemory memory;
  std::string folder;

  const io::MatrixInfo& matrix(std::int64_t layer) const {
    return reader.network().layers[to_size(layer)].weight;
  }
  std::int64_t layers() const { return std::ssize(reader.network().layers); }
  // Filters and layers without weights stay as they are.
  bool converts(std::int64_t layer) const {
    return reader.network().layers[to_size(layer)].kind == io::LayerKind::kConnections;
  }
  bool by_columns(std::int64_t layer) const {
    return settings.format == MatrixFormat::kCsc && converts(layer);
  }
  std::int64_t row_step(std::int64_t layer) const {
    return converts(layer) ? settings.block_rows : 1;
  }
};

void check_linear(const Conversion& conversion) {
  const bool linear = conversion.settings.format == MatrixFormat::kMap ||
                      conversion.settings.format == MatrixFormat::kVector;
  for (std::int64_t layer = 0; linear && layer < conversion.layers(); ++layer) {
    const io::MatrixInfo& matrix = conversion.matrix(layer);
    if (conversion.converts(layer) &&
        matrix.rows > std::numeric_limits<std::int64_t>::max() / matrix.cols) {
      throw Error(ExitStatus::kDoesNotFit,
                  text("layer ", layer, " is ", matrix.rows, " x ", matrix.cols,
                       ": it has more linear indices than 63 bits hold; csr would be right"));
    }
  }
}

// What a rank holds of the first lines of a layer: its stored weights, and for a tensor what their
// blocks take, in units of a weight.
std::vector<std::int64_t> entries_before_steps(const Conversion& conversion, std::int64_t layer) {
  const io::MatrixInfo& matrix = conversion.matrix(layer);
  const std::int64_t step = conversion.settings.block_rows;
  const std::int64_t cols = (matrix.cols - 1) / conversion.settings.block_cols + 1;
  const std::int64_t block_bytes = step * conversion.settings.block_cols * 2 * 4;
  std::vector<std::int64_t> before = {0};
  std::int64_t stored = 0;
  for (std::int64_t row = 0; row < matrix.rows;) {
    row = std::min(matrix.rows, row + step);
    const std::int64_t here = conversion.reader.nnz_before(layer, row) - stored;
    const std::int64_t blocks = std::min(here, cols);
    before.push_back(before.back() + here + blocks * block_bytes / kEntryBytes);
    stored += here;
  }
  return before;
}

// A layer as the lines of the output, in pieces.
class LayerLines {
 public:
  LayerLines(const Conversion& conversion, std::int64_t layer)
      : conversion_(conversion), layer_(layer) {
    const bool stored_by_columns = conversion.matrix(layer).format == MatrixFormat::kCsc;
    const Comm& world = conversion.context.world;
    const std::int64_t step = conversion.row_step(layer);
    if (stored_by_columns != conversion.by_columns(layer)) {
      turned_.emplace(world, conversion.reader, layer, conversion.memory, conversion.folder, step);
      return;
    }
    locally(world, "planning", [&] {
      io::Network one;
      one.layers.push_back(conversion.reader.network().layers[to_size(layer)]);
      std::vector<std::int64_t> steps;
      if (conversion.settings.format == MatrixFormat::kTensor && conversion.converts(layer)) {
        steps = entries_before_steps(conversion, layer);
      }
      if (stored_by_columns) {
        one.layers[0].weight.rows = one.layers[0].weight.cols;
      }
      const auto before = [&](std::int64_t, std::int64_t line) {
        return !steps.empty() ? steps[to_size((line + step - 1) / step)]
               : stored_by_columns
                   ? io::nnz_before_column(conversion.reader.data(), conversion.matrix(layer), line)
                   : conversion.reader.nnz_before(layer, line);
      };
      pieces_.emplace(one, world.ranks(), conversion.memory, before, PieceCut{step, {}});
    });
  }

  std::int64_t rounds() const { return turned_ ? turned_->rounds() : pieces_->rounds(0); }

  // Collective.
  CsrRows read(std::int64_t round) const {
    if (turned_) {
      return turned_->exchange_lines(round);
    }
    const PhaseTimer timer(conversion_.context.times, Phase::kRead);
    const Comm& world = conversion_.context.world;
    return locally(world, text("reading layer ", layer_), [&] {
      const Range lines = pieces_->rows(0, round, world.rank());
      return conversion_.by_columns(layer_)
                 ? io::read_columns(conversion_.reader.data(), conversion_.matrix(layer_), lines)
                 : conversion_.reader.read_rows(layer_, lines);
    });
  }

 private:
  const Conversion& conversion_;
  std::int64_t layer_;
  std::optional<TurnedLayer> turned_;
  std::optional<Pieces> pieces_;
};

// Finds out whether the values of this rank's share of a layer are all equal, until two differ.
MatrixTotals spread_of_share(const Conversion& conversion, std::int64_t layer) {
  constexpr std::int64_t kAtATime = INT64_C(1) << 16;
  const Comm& world = conversion.context.world;
  const io::MatrixInfo& matrix = conversion.matrix(layer);
  MatrixTotals totals;
  CsrRows some;
  const Range mine = split_evenly(matrix.stored, world.ranks(), world.rank());
  for (auto at = mine.begin; at < mine.end && (at == mine.begin || totals.iso()); at += kAtATime) {
    some.values.resize(to_size(std::min(kAtATime, mine.end - at)));
    some.pointers = {0, std::ssize(some.values)};
    io::read_values(conversion.reader.data(), matrix, at, some.values);
    totals.add(some);
  }
  return totals;
}

// What a layer of the output holds, as far as it is not known from the input's structure.
//   where    collective
void survey_layer(const Conversion& conversion, std::int64_t layer, io::MatrixInfo& out) {
  const Comm& world = conversion.context.world;
  const io::MatrixInfo& in = conversion.matrix(layer);
  const bool blocks = out.format == MatrixFormat::kTensor;
  const bool may_be_iso = !out.stores_zeros() && out.format != MatrixFormat::kList &&
                          conversion.settings.values == "iso";
  std::vector<MatrixTotals> totals(1);
  if (in.stores_zeros() || blocks) {
    std::int64_t count = 0;
    const LayerLines lines(conversion, layer);
    for (std::int64_t round = 0; round < lines.rounds(); ++round) {
      const CsrRows rows = lines.read(round);
      totals[0].add(rows);
      count += blocks ? io::count_blocks(rows, out) : 0;
    }
    MatrixTotals::join(world, totals);
    out.stored = blocks ? world.sum(count) * out.block_values() : totals[0].nnz();
  } else if (may_be_iso) {
    totals[0] = locally(world, text("reading layer ", layer),
                        [&] { return spread_of_share(conversion, layer); });
    MatrixTotals::join(world, totals);
  }
  out.iso = may_be_iso && totals[0].iso().has_value();
}

// How many values the filters take that are not all zero.
//   where    collective
std::int64_t count_stored(const Conversion& conversion, std::int64_t layer) {
  std::int64_t stored = 0;
  const LayerLines lines(conversion, layer);
  for (std::int64_t round = 0; round < lines.rounds(); ++round) {
    stored += io::stored_values(conversion.matrix(layer), lines.read(round));
  }
  return conversion.context.world.sum(stored);
}

io::Network survey(const Conversion& conversion) {
  io::Network network = conversion.reader.network();
  Progress progress("looking at weights", conversion.layers(), "layers");
  for (std::int64_t layer = 0; layer < conversion.layers(); ++layer) {
    io::MatrixInfo& out = network.layers[to_size(layer)].weight;
    const bool list =
        conversion.converts(layer) && conversion.settings.format == MatrixFormat::kList;
    if (list || conversion.settings.values == "float32") {
      out.value_type = io::kFloat32;
    }
    if (!conversion.converts(layer)) {
      if (out.format == MatrixFormat::kFilters) {
        out.stored = count_stored(conversion, layer);
      }
      continue;
    }
    out.format = conversion.settings.format;
    out.block_rows = conversion.settings.block_rows;
    out.block_cols = conversion.settings.block_cols;
    out.bucket_bits = 0;
    survey_layer(conversion, layer, out);
    progress.done(layer + 1);
  }
  return network;
}

// The biases of a layer whose weights are written by columns.
void write_biases(const Conversion& conversion, std::int64_t layer, io::NetworkWriter& writer) {
  constexpr std::int64_t kAtATime = INT64_C(1) << 20;
  const Comm& world = conversion.context.world;
  const std::int64_t rows = conversion.matrix(layer).rows;
  for (std::int64_t begin = 0; begin < rows; begin += kAtATime) {
    const Range part = split_evenly(std::min(kAtATime, rows - begin), world.ranks(), world.rank());
    const Range mine{begin + part.begin, begin + part.end};
    const auto bias = locally(world, text("reading layer ", layer),
                              [&] { return conversion.reader.read_bias(layer, mine); });
    writer.write_bias(layer, mine.begin, bias);
  }
}

void write_layer(const Conversion& conversion, std::int64_t layer, const io::MatrixInfo& out,
                 io::NetworkWriter& writer) {
  const Comm& world = conversion.context.world;
  if (!conversion.reader.network().layers[to_size(layer)].has_weights()) {
    return;
  }
  const LayerLines lines(conversion, layer);
  for (std::int64_t round = 0; round < lines.rounds(); ++round) {
    CsrRows rows = lines.read(round);
    std::vector<float> bias;
    locally(world, text("reading layer ", layer), [&] {
      if (rows.nnz() > 0) {
        spell_values(rows, out.iso ? std::optional(rows.value(0)) : std::nullopt);
      }
      if (!conversion.by_columns(layer)) {
        bias = conversion.reader.read_bias(layer, {rows.first_row, rows.first_row + rows.rows()});
      }
    });
    const PhaseTimer timer(conversion.context.times, Phase::kWrite);
    writer.write_layer(layer, rows, bias);
  }
  if (conversion.by_columns(layer)) {
    write_biases(conversion, layer, writer);
  }
}

OutputPlan plan_output(const Comm& world, const Options& options, const Settings& settings,
                       const io::Catalog& catalog) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "convert";
  plan.provenance.options = {{"to", settings.to}, {"values", settings.values}};
  if (settings.format == MatrixFormat::kTensor) {
    plan.provenance.options["block"] = text(settings.block_rows, "x", settings.block_cols);
  }
  plan.what = text(catalog.file, " as ", settings.to);
  plan.digest_inputs = [&world, &catalog] { return std::vector{io::input_digest(world, catalog)}; };
  return plan;
}

ExitStatus run_convert(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const Settings settings = read_settings(context.options);
  const std::string file = context.options.text("network");
  const io::Catalog catalog = io::read_catalog(world, file);
  const auto reader = locally(world, "opening " + file, [&] { return io::NetworkReader(catalog); });
  const std::int64_t memory_bytes = context.memory_per_rank();
  OutputPlan plan = plan_output(world, context.options, settings, catalog);
  Conversion conversion{context, reader, settings, {}, folder_of(plan.path)};
  locally(world, "planning", [&] {
    conversion.memory = plan_pieces(memory_bytes);
    check_linear(conversion);
  });
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  const io::Network network = survey(conversion);
  io::NetworkWriter writer(world, plan.path, network, plan.provenance, context.output_options());
  writer.copy_scalings(reader);
  Progress progress("writing weights", conversion.layers(), "layers");
  for (std::int64_t layer = 0; layer < conversion.layers(); ++layer) {
    write_layer(conversion, layer, network.layers[to_size(layer)].weight, writer);
    progress.done(layer + 1);
  }
  writer.finish();
  context.report.add_bytes_read(reader.data().bytes_read());
  end_output(context, plan, {network.nnz(), now_seconds() - start, 0, writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace

Job convert_job() {
  namespace po = boost::program_options;
  po::options_description options("convert");
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  // clang-format off
  options.add_options()
      ("network", word("NET")->required(), "network file, of any representation")
      ("out,o", word("NET2")->required(), "network file to write")
      ("to", word("FORM")->required(),
       "csr (rows), csc (columns), triplets (row, column, weight), tensor (non-zero blocks: sparse "
       "levels over dense ones), map (linear index row * columns + column -> weight, in buckets), list "
       "(rows of pairs of index and weight), vector (one sparse vector over the linear index)")
      ("values", word("VALUES")->default_value("iso"),
       "iso: one value where all of a layer are equal; full: one for each weight; float32: the same, "
       "and no half types")
      ("block", word("RxC")->default_value("1x1"), "of tensor: rows and columns of a block");
  // clang-format on
  return {"convert",
          "store a network in another representation",
          "convert NET --to csr|csc|triplets|tensor|map|list|vector -o NET2",
          {"espalier convert net.h5 --to csc -o columns.h5",
           "espalier convert pruned.h5 --to tensor --block 4x4 -o blocks.h5",
           "mpirun -n 4 espalier convert net.h5 --to csr --values full -o full.h5"},
          {"network"},
          options,
          run_convert};
}

}  // namespace espalier::jobs
