#include "jobs/sharded_network.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/watchdog.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

std::vector<std::uint32_t> all_inputs(std::int64_t cols) {
  std::vector<std::uint32_t> inputs(static_cast<std::size_t>(cols));
  std::iota(inputs.begin(), inputs.end(), 0U);
  return inputs;
}

struct LayerSource {
  const io::NetworkReader& reader;
  std::int64_t id;
  kernels::PackForm form;
};

// Reads and packs this shard's rows of one layer. `rows` is memory that layers share, one after the
// other.
ShardLayer read_layer(const ProcessGrid& grid, const LayerSource& source, CsrRows& rows,
                      PhaseTimes& times) {
  const io::NetworkReader& reader = source.reader;
  const std::int64_t id = source.id;
  const io::Layer& layer = reader.network().layers[static_cast<std::size_t>(id)];
  const int shards = grid.shape().row_shards;
  ShardLayer mine;
  std::vector<float> bias;
  {
    const PhaseTimer timer(times, Phase::kRead);
    mine.bounds = shards == 1 ? std::vector<std::int64_t>{0, layer.outputs()}
                              : split_by_nnz(layer.outputs(), shards, [&](std::int64_t neuron) {
                                  return reader.connections_before(id, neuron);
                                });
    const auto shard = static_cast<std::size_t>(grid.row_shard());
    mine.rows = {mine.bounds[shard], mine.bounds[shard + 1]};
    rows = reader.read_connections(id, mine.rows, std::move(rows));
    bias = reader.read_neuron_bias(id, mine.rows);
  }
  const PhaseTimer timer(times, Phase::kPack);
  kernels::PackForm form = source.form;
  form.maximum = layer.kind == io::LayerKind::kMaxPool;
  if (shards == 1) {
    mine.packed = kernels::pack_layer(rows, all_inputs(layer.width()), bias, layer.epilogue, form);
  } else {
    mine.inputs = kernels::used_inputs(rows);
    mine.packed = kernels::pack_layer(rows, mine.inputs, bias, layer.epilogue, form);
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
    keeps_zero.push_back(kernels::maps_zero_to_zero(layer.packed) ? 1 : 0);
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

ShardedNetwork read_and_pack(const Comm& world, const ProcessGrid& grid,
                             const io::NetworkReader& reader, PhaseTimes& times,
                             const ReadOptions& options) {
  const auto layers = static_cast<std::int64_t>(reader.network().layers.size());
  ShardedNetwork network;
  network.inputs = reader.network().inputs();
  network.outputs = reader.network().outputs();
  network.bfloat16 = options.bfloat16;
  network.softmax =
      reader.network().layers.back().epilogue.activation == kernels::Activation::kSoftmax;
  locally(world, "reading the network", [&] {
    Progress progress("reading and packing", layers, "layers");
    read_scaling(reader, network);
    CsrRows rows;
    for (std::int64_t id = 0; id < layers; ++id) {
      options.before_layer();
      kernels::PackForm form;
      form.round_weights = options.bfloat16;
      form.round_outputs = options.bfloat16 && id + 1 < layers;
      network.layers.push_back(read_layer(grid, {reader, id, form}, rows, times));
      progress.done(id + 1);
      note_progress();
    }
  });
  const PhaseTimer timer(times, Phase::kExchange);
  for (std::size_t id = 1; grid.shape().row_shards > 1 && id < network.layers.size(); ++id) {
    agree_on_halos(grid.group(), network.layers[id - 1], network.layers[id]);
  }
  agree_on_zero_to_zero(grid.group(), network);
  return network;
}

}  // namespace espalier::jobs
