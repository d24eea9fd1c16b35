#include "jobs/sharded_network.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/watchdog.hpp"
#include "jobs/boundaries.hpp"
#include "jobs/plan.hpp"
#include "kernels/spmm.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

std::vector<std::uint32_t> all_inputs(std::int64_t cols) {
  std::vector<std::uint32_t> inputs(static_cast<std::size_t>(cols));
  std::iota(inputs.begin(), inputs.end(), 0U);
  return inputs;
}

// What is read of one layer.
struct LayerRows {
  CsrRows rows;  // memory that layers share, one after the other
  std::vector<float> bias;
  // Which of the rows are passing: `input` is a position before the layer.
  std::vector<Passing> passing;
};

void append_rows(const CsrRows& from, CsrRows& to) {
  for (std::int64_t row = 1; row <= from.rows(); ++row) {
    to.pointers.push_back(to.nnz() + from.pointers[static_cast<std::size_t>(row)] -
                          from.pointers[static_cast<std::size_t>(row) - 1]);
  }
  to.indices.insert(to.indices.end(), from.indices.begin(), from.indices.end());
  for (std::int64_t k = 0; k < from.nnz(); ++k) {
    to.values.push_back(from.value(k));
  }
}

// The rows [mine] behind a layer where others pass it: those are empty.
LayerRows read_with_passing(const io::NetworkReader& reader, std::int64_t id,
                            const Boundary& behind, Range mine) {
  LayerRows all;
  all.rows.first_row = mine.begin;
  const bool biased =
      reader.network().layers[static_cast<std::size_t>(id)].bias != io::BiasKind::kNone;
  for (const Segment& segment : behind.segments) {
    const Range part{std::max(mine.begin, segment.first) - segment.first,
                     std::min(mine.end, segment.first + segment.width) - segment.first};
    if (part.empty()) {
      continue;
    }
    const std::int64_t first = all.rows.rows();
    if (segment.carried()) {
      all.passing.push_back({first, segment.from + part.begin, part.size()});
      all.rows.pointers.resize(all.rows.pointers.size() + static_cast<std::size_t>(part.size()),
                               all.rows.nnz());
    } else {
      append_rows(reader.read_connections(id, part), all.rows);
    }
    if (biased) {
      std::vector<float> bias(1, 0.0F);
      if (!segment.carried()) {
        bias = reader.read_neuron_bias(id, part);
      }
      bias.resize(static_cast<std::size_t>(part.size()), bias.front());
      all.bias.insert(all.bias.end(), bias.begin(), bias.end());
    }
  }
  return all;
}

LayerRows read_behind(const io::NetworkReader& reader, std::int64_t id, const Boundary& behind,
                      Range mine, CsrRows reuse) {
  const bool plain = behind.segments.size() == 1 && !behind.segments[0].carried();
  if (plain) {
    return {
        reader.read_connections(id, mine, std::move(reuse)), reader.read_neuron_bias(id, mine), {}};
  }
  return read_with_passing(reader, id, behind, mine);
}

// About how many connections the rows < row behind a layer have.
std::int64_t nnz_before(const io::NetworkReader& reader, std::int64_t id, const Boundary& behind,
                        std::int64_t row) {
  std::int64_t before = 0;
  for (const Segment& segment : behind.segments) {
    if (!segment.carried() && row > segment.first) {
      before += reader.connections_before(id, std::min(row - segment.first, segment.width));
    }
  }
  return before;
}

// The inputs before the layer that these rows use or let pass, ascending.
std::vector<std::uint32_t> inputs_of(const LayerRows& read) {
  std::vector<std::uint32_t> inputs = kernels::used_inputs(read.rows);
  if (read.passing.empty()) {
    return inputs;
  }
  for (const Passing& passing : read.passing) {
    for (std::int64_t k = 0; k < passing.count; ++k) {
      inputs.push_back(narrow<std::uint32_t>(passing.input + k));
    }
  }
  std::sort(inputs.begin(), inputs.end());
  inputs.erase(std::unique(inputs.begin(), inputs.end()), inputs.end());
  return inputs;
}

struct LayerSource {
  const io::NetworkReader& reader;
  std::int64_t id;
  const Boundary& behind;
  std::int64_t width;  // values before the layer
  kernels::PackForm form;
  bool streams;  // the last layer, whose outputs are not held
};

// Where the rows [mine] are cut, so that one piece as read is little beside all of them packed.
std::vector<Range> cut_pieces(const LayerSource& source, Range mine) {
  const io::Layer& layer = source.reader.network().layers[static_cast<std::size_t>(source.id)];
  const bool plain =
      source.behind.segments.size() == 1 && !source.behind.segments.front().carried();
  if (!plain || mine.empty() || layer.kind != io::LayerKind::kConnections) {
    return {mine};
  }
  const std::int64_t weights = nnz_before(source.reader, source.id, source.behind, mine.end) -
                               nnz_before(source.reader, source.id, source.behind, mine.begin);
  const std::int64_t step = rows_of_piece(mine.size(), weights, source.streams);
  std::vector<Range> pieces;
  for (std::int64_t begin = mine.begin; begin < mine.end; begin += step) {
    pieces.push_back({begin, std::min(begin + step, mine.end)});
  }
  return pieces;
}

// The inputs that the rows of several pieces use: each is read, and read again to be packed.
std::vector<std::uint32_t> inputs_of_pieces(const LayerSource& source,
                                            const std::vector<Range>& pieces, CsrRows& reuse) {
  std::vector<std::uint8_t> used(static_cast<std::size_t>(source.width), 0);
  for (const Range& piece : pieces) {
    reuse = source.reader.read_connections(source.id, piece, std::move(reuse));
    for (const std::uint32_t input : reuse.indices) {
      used[input] = 1;
    }
    note_progress();
  }
  std::vector<std::uint32_t> inputs;
  for (std::size_t input = 0; input < used.size(); ++input) {
    if (used[input] != 0) {
      inputs.push_back(static_cast<std::uint32_t>(input));
    }
  }
  return inputs;
}

// Reads and packs this shard's rows of one layer. `reuse` is memory that layers share.
ShardLayer read_layer(const ProcessGrid& grid, const LayerSource& source, PhaseTimes& times,
                      CsrRows& reuse) {
  const io::NetworkReader& reader = source.reader;
  const std::int64_t id = source.id;
  const io::Layer& layer = reader.network().layers[static_cast<std::size_t>(id)];
  const Boundary& behind = source.behind;
  const int shards = grid.shape().row_shards;
  ShardLayer mine;
  std::vector<Range> pieces;
  {
    const PhaseTimer timer(times, Phase::kRead);
    mine.bounds = shards == 1 ? std::vector<std::int64_t>{0, behind.width}
                              : split_by_nnz(behind.width, shards, [&](std::int64_t row) {
                                  return nnz_before(reader, id, behind, row);
                                });
    const auto shard = static_cast<std::size_t>(grid.row_shard());
    mine.rows = {mine.bounds[shard], mine.bounds[shard + 1]};
    pieces = cut_pieces(source, mine.rows);
    if (shards > 1 && pieces.size() > 1) {
      mine.inputs = inputs_of_pieces(source, pieces, reuse);
    }
  }
  std::vector<std::uint32_t> everything;
  if (shards == 1) {
    everything = all_inputs(source.width);
  }
  for (const Range& piece : pieces) {
    LayerRows read;
    {
      const PhaseTimer timer(times, Phase::kRead);
      read = read_behind(reader, id, behind, piece, std::move(reuse));
      read.rows.cols = source.width;
    }
    const PhaseTimer timer(times, Phase::kPack);
    if (shards > 1 && pieces.size() == 1) {
      mine.inputs = inputs_of(read);
    }
    mine.packed.add(kernels::pack_layer(read.rows, shards == 1 ? everything : mine.inputs,
                                        read.bias, layer.epilogue, source.form));
    mine.passing.insert(mine.passing.end(), read.passing.begin(), read.passing.end());
    reuse = std::move(read.rows);
    note_progress();
  }
  for (Passing& passing : mine.passing) {
    // They are all there, so they stand next to each other.
    passing.input = shards == 1
                        ? passing.input
                        : std::lower_bound(mine.inputs.begin(), mine.inputs.end(), passing.input) -
                              mine.inputs.begin();
  }
  mine.edges = layer.has_weights() ? mine.packed.nnz() : 0;
  return mine;
}

std::vector<std::byte> bytes_of(std::span<const std::uint32_t> values) {
  const auto bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}

// Tells every shard of the group which of its outputs this one needs before `layer`.
void agree_on_halos(const Comm& group, const ShardLayer& before, ShardLayer& layer) {
  const auto shards = static_cast<std::size_t>(group.ranks());
  layer.halos.resize(shards);
  std::vector<std::vector<std::byte>> needed(shards);
  for (std::size_t shard = 0; shard < shards; ++shard) {
    const auto first =
        std::lower_bound(layer.inputs.begin(), layer.inputs.end(), before.bounds[shard]);
    const auto last = std::lower_bound(first, layer.inputs.end(), before.bounds[shard + 1]);
    layer.halos[shard].receive = {first - layer.inputs.begin(), last - layer.inputs.begin()};
    needed[shard] = bytes_of({first, last});
  }
  const auto asked = group.exchange_all(needed);
  for (std::size_t shard = 0; shard < shards; ++shard) {
    std::vector<std::uint32_t>& send = layer.halos[shard].send;
    send.resize(asked[shard].size() / sizeof(std::uint32_t));
    if (!send.empty()) {
      std::memcpy(send.data(), asked[shard].data(), asked[shard].size());
    }
    for (std::uint32_t& row : send) {
      row = narrow<std::uint32_t>(row - before.rows.begin);
    }
  }
}

// From the last layer back: may a sample that is all zero before this layer be dropped?
void agree_on_zero_to_zero(const Comm& group, ShardedNetwork& network) {
  std::vector<std::int64_t> keeps_zero;
  for (const ShardLayer& layer : network.layers) {
    bool all = true;
    for (std::int64_t piece = 0; piece < layer.packed.pieces(); ++piece) {
      all = all && kernels::maps_zero_to_zero(layer.packed.piece(piece));
    }
    keeps_zero.push_back(all ? 1 : 0);
  }
  group.min(keeps_zero);
  bool all_later =
      !network.softmax && std::all_of(network.output_shift.begin(), network.output_shift.end(),
                                      [](float shift) { return shift == 0; });
  for (std::size_t id = network.layers.size(); id-- > 0;) {
    all_later = all_later && keeps_zero[id] != 0;
    network.layers[id].zero_to_zero = all_later;
  }
}

void read_scaling(const io::NetworkReader& reader, ShardedNetwork& network) {
  const io::FeatureScaling& scaling = reader.network().scaling;
  const auto read = [&](bool present, const char* name, std::vector<float>& values) {
    if (present) {
      values = reader.read_scaling(name);
    }
  };
  read(scaling.input_scale, "input_scale", network.input_scale);
  read(scaling.input_shift, "input_shift", network.input_shift);
  read(scaling.output_scale, "output_scale", network.output_scale);
  read(scaling.output_shift, "output_shift", network.output_shift);
}

}  // namespace

void PackedRows::add(kernels::PackedLayer piece) {
  bounds_.push_back(rows() + piece.rows());
  pieces_.push_back(std::move(piece));
}

std::int64_t PackedRows::nnz() const noexcept {
  std::int64_t all = 0;
  for (const kernels::PackedLayer& piece : pieces_) {
    all += piece.nnz();
  }
  return all;
}

std::int64_t PackedRows::bytes() const noexcept {
  std::int64_t all = 0;
  for (const kernels::PackedLayer& piece : pieces_) {
    all += piece.bytes();
  }
  return all;
}

std::int64_t PackedRows::row_granularity() const noexcept {
  std::int64_t most = 1;
  for (const kernels::PackedLayer& piece : pieces_) {
    most = std::max(most, piece.row_granularity());
  }
  return most;
}

std::string PackedRows::block_names() const {
  std::string names = pieces_.front().block_names();
  if (pieces() > 1) {
    names += text(" in ", pieces(), " pieces");
  }
  return names;
}

void compute_rows(const ShardLayer& layer, const float* in, float* out, Range rows,
                  std::uint32_t* nonzero, std::int64_t samples) {
  for (std::int64_t piece = 0; piece < layer.packed.pieces(); ++piece) {
    const Range own = layer.packed.rows_of(piece);
    const Range part{std::max(rows.begin, own.begin), std::min(rows.end, own.end)};
    if (!part.empty()) {
      kernels::spmm(layer.packed.piece(piece), in, out + own.begin * kernels::kPanelWidth,
                    part.begin - own.begin, part.end - own.begin, nonzero, samples);
    }
  }
  for (const Passing& passing : layer.passing) {
    const std::int64_t begin = std::max(rows.begin, passing.row);
    const std::int64_t end = std::min(rows.end, passing.row + passing.count);
    for (std::int64_t row = begin; row < end; ++row) {
      const float* from = in + (passing.input + row - passing.row) * kernels::kPanelWidth;
      float* to = out + row * kernels::kPanelWidth;
      for (int column = 0; column < kernels::kPanelWidth; ++column) {
        to[column] = from[column];
        nonzero[column] |= from[column] != 0 ? 1U : 0U;
      }
    }
  }
}

void number_boundaries(ShardedNetwork& network) {
  const auto renumbers = [](const ShardLayer& layer) {
    return layer.packed.pieces() == 1 && layer.passing.empty() && layer.packed.piece(0).renumbers();
  };
  for (std::size_t id = 1; id < network.layers.size(); ++id) {
    ShardLayer& before = network.layers[id - 1];
    ShardLayer& after = network.layers[id];
    if (renumbers(before) && renumbers(after)) {
      const auto places = after.packed.piece(0).reading_order();
      before.packed.piece(0).renumber_rows(places);
      after.packed.piece(0).renumber_inputs(places);
    }
  }
}

ShardedNetwork read_and_pack(const Comm& world, const ProcessGrid& grid,
                             const io::NetworkReader& reader, PhaseTimes& times,
                             const ReadOptions& options) {
  const auto layers = static_cast<std::int64_t>(reader.network().layers.size());
  ShardedNetwork network;
  network.inputs = reader.network().inputs();
  network.outputs = reader.network().outputs();
  network.bfloat16 = options.bfloat16;
  network.streams_outputs = options.streams_outputs;
  network.softmax =
      reader.network().layers.back().epilogue.activation == kernels::Activation::kSoftmax;
  locally(world, "reading the network", [&] {
    const auto boundaries = plan_boundaries(reader.network());
    Progress progress("reading and packing", layers, "layers");
    read_scaling(reader, network);
    CsrRows rows;
    for (std::int64_t id = 0; id < layers; ++id) {
      options.before_layer();
      kernels::PackForm form;
      form.round_weights = options.bfloat16;
      form.round_outputs = options.bfloat16 && id + 1 < layers;
      form.maximum =
          reader.network().layers[static_cast<std::size_t>(id)].kind == io::LayerKind::kMaxPool;
      const Boundary& behind = boundaries[static_cast<std::size_t>(id)];
      const std::int64_t width = id == 0 ? reader.network().layers.front().width()
                                         : boundaries[static_cast<std::size_t>(id) - 1].width;
      const bool streams = options.streams_outputs && id + 1 == layers;
      network.layers.push_back(
          read_layer(grid, {reader, id, behind, width, form, streams}, times, rows));
      progress.done(id + 1);
      note_progress();
    }
  });
  if (grid.shape().row_shards == 1) {
    const PhaseTimer timer(times, Phase::kPack);
    number_boundaries(network);
  }
  const PhaseTimer timer(times, Phase::kExchange);
  for (std::size_t id = 1; grid.shape().row_shards > 1 && id < network.layers.size(); ++id) {
    agree_on_halos(grid.group(), network.layers[id - 1], network.layers[id]);
  }
  agree_on_zero_to_zero(grid.group(), network);
  return network;
}

}  // namespace espalier::jobs
