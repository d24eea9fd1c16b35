#include "jobs/propagate.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "framework/parallel.hpp"
#include "framework/watchdog.hpp"
#include "kernels/spmm.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;

std::int64_t panels_of(std::int64_t samples) { return (samples + kWidth - 1) / kWidth; }

std::size_t to_size(std::int64_t value) { return static_cast<std::size_t>(value); }

bool all_zero(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return value == 0; });
}

// Work is cut so that every thread gets several pieces even when there are few panels.
std::int64_t row_pieces(std::int64_t rows, std::int64_t panels) {
  constexpr std::int64_t kFewestRows = 64;
  const std::int64_t wanted = (4 * threads() + panels - 1) / panels;
  return threads() == 1 ? 1 : std::clamp<std::int64_t>(rows / kFewestRows, 1, wanted);
}

std::int64_t most_outputs(const ShardedNetwork& network) {
  std::int64_t most = 0;
  for (const ShardLayer& layer : network.layers) {
    most = std::max(most, layer.packed.rows());
  }
  return most;
}

std::int64_t most_inputs(const ShardedNetwork& network, bool first_layer_only) {
  std::int64_t most = 0;
  for (const ShardLayer& layer : network.layers) {
    most = std::max(most, layer.packed.inputs());
    if (first_layer_only) {
      break;
    }
  }
  return most;
}

std::int64_t most_sent(const ShardedNetwork& network) {
  std::int64_t most = 0;
  for (const ShardLayer& layer : network.layers) {
    std::int64_t rows = 0;
    for (const Halo& halo : layer.halos) {
      rows += static_cast<std::int64_t>(halo.send.size());
    }
    most = std::max(most, rows);
  }
  return most;
}

}  // namespace

Propagator::Propagator(const ProcessGrid& grid, const ShardedNetwork& network,
                       const InferencePlan& plan, PhaseTimes& times)
    : grid_(grid), network_(network), plan_(plan), times_(times), work_(network.layers.size()) {
  const std::int64_t wave_panels = plan.wave_samples / kWidth;
  const std::int64_t chunk = std::min(plan.chunk_panels, wave_panels);
  const bool alone = grid.shape().row_shards == 1;
  current_ = AlignedBuffer<float>(to_size(most_outputs(network) * plan.wave_samples));
  next_ = AlignedBuffer<float>(to_size(most_outputs(network) * plan.wave_samples));
  inputs_ = AlignedBuffer<float>(to_size(most_inputs(network, alone) * kWidth * chunk));
  if (!alone) {
    sent_ = AlignedBuffer<float>(to_size(most_sent(network) * kWidth * chunk));
    received_ = AlignedBuffer<float>(to_size(most_inputs(network, false) * kWidth * chunk));
  }
  local_of_feature_.assign(to_size(network.inputs), -1);
  const std::vector<std::uint32_t>& used = network.layers.front().inputs;
  if (alone) {
    std::iota(local_of_feature_.begin(), local_of_feature_.end(), 0);
  }
  for (std::size_t local = 0; local < used.size(); ++local) {
    local_of_feature_[used[local]] = static_cast<std::int32_t>(local);
  }
}

std::int64_t Propagator::panels() const {
  return panels_of(static_cast<std::int64_t>(active_.size()));
}

WaveOutput Propagator::run(const kernels::CsrRows& samples) {
  start_wave(samples);
  for (std::size_t id = 0; id < network_.layers.size() && !active_.empty(); ++id) {
    if (gives_up()) {
      return {{}, {}, nullptr, true};
    }
    run_layer(id, samples);
    note_progress();
  }
  return {active_, alive_, current_.data()};
}

// Shards notice at different moments, but exchange with each other in every layer.
bool Propagator::gives_up() const {
  std::uint8_t asked = give_up_ && give_up_() ? 1 : 0;
  if (give_up_ && grid_.shape().row_shards > 1) {
    grid_.group().bit_or(std::span(&asked, 1));
  }
  return asked != 0;
}

// Samples without any feature are dead from the start where zero stays zero.
void Propagator::start_wave(const kernels::CsrRows& samples) {
  const bool may_drop = network_.layers.front().zero_to_zero && all_zero(network_.input_shift);
  active_.clear();
  for (std::int64_t sample = 0; sample < samples.rows(); ++sample) {
    bool zero = true;
    for (std::int64_t k = samples.pointers[to_size(sample)];
         zero && k < samples.pointers[to_size(sample) + 1]; ++k) {
      zero = samples.value(k) == 0;
    }
    if (!zero || !may_drop) {
      active_.push_back(sample);
    }
  }
  alive_.assign(active_.size(), 1);
}

void Propagator::run_layer(std::size_t id, const kernels::CsrRows& samples) {
  const double start = now_seconds();
  const ShardLayer& layer = network_.layers[id];
  const std::int64_t live = layer.zero_to_zero
                                ? std::count(alive_.begin(), alive_.end(), std::uint8_t{1})
                                : std::ssize(active_);
  work_[id].edges += layer.packed.nnz() * live;
  alive_bits_.assign(to_size(panels() * kWidth), 0);
  const bool in_place = id > 0 && grid_.shape().row_shards == 1;
  const std::int64_t step = in_place ? panels() : std::min(plan_.chunk_panels, panels());
  for (std::int64_t first = 0; first < panels(); first += step) {
    const Range chunk{first, std::min(first + step, panels())};
    const float* in = in_place ? current_.data() : assemble_inputs(id, samples, chunk);
    multiply(layer, in, chunk);
  }
  std::swap(current_, next_);
  note_alive();
  if (id + 1 < network_.layers.size() && network_.layers[id + 1].zero_to_zero) {
    close_up(layer.packed.rows());
  }
  work_[id].seconds += now_seconds() - start;
}

const float* Propagator::assemble_inputs(std::size_t id, const kernels::CsrRows& samples,
                                         Range panels) {
  if (id == 0) {
    const PhaseTimer timer(times_, Phase::kCompute);
    fill_from_features(samples, panels);
  } else {
    exchange_halos(network_.layers[id - 1], network_.layers[id], panels);
  }
  return inputs_.data();
}

// Spreads sparse features over the columns of dense panels, scaled and shifted.
void Propagator::fill_from_features(const kernels::CsrRows& samples, Range panels) {
  const std::int64_t inputs = network_.layers.front().packed.inputs();
  const std::vector<std::uint32_t>& used = network_.layers.front().inputs;
  const auto scale_of = [&](std::size_t feature) {
    return network_.input_scale.empty() ? 1.0F : network_.input_scale[feature];
  };
  const auto shift_of = [&](std::size_t feature) {
    return network_.input_shift.empty() ? 0.0F : network_.input_shift[feature];
  };
  parallel_for(panels.size(), [&](std::int64_t item, int) {
    float* panel = inputs_.data() + item * inputs * kWidth;
    for (std::int64_t local = 0; local < inputs; ++local) {
      const std::size_t feature = used.empty() ? to_size(local) : used[to_size(local)];
      std::fill_n(panel + local * kWidth, kWidth, shift_of(feature));
    }
    const std::int64_t first = (panels.begin + item) * kWidth;
    const std::int64_t last = std::min<std::int64_t>(first + kWidth, std::ssize(active_));
    for (std::int64_t column = first; column < last; ++column) {
      const std::size_t sample = to_size(active_[to_size(column)]);
      for (std::int64_t k = samples.pointers[sample]; k < samples.pointers[sample + 1]; ++k) {
        const std::uint32_t feature = samples.indices[to_size(k)];
        const std::int32_t local = local_of_feature_[feature];
        if (local >= 0) {
          panel[local * kWidth + (column - first)] =
              samples.value(k) * scale_of(feature) + shift_of(feature);
        }
      }
    }
  });
}

// Pack, exchange, unpack: the outputs of the layer before that this shard's rows need, of one
// chunk.
void Propagator::exchange_halos(const ShardLayer& before, const ShardLayer& layer, Range panels) {
  const PhaseTimer timer(times_, Phase::kExchange);
  const auto me = to_size(grid_.row_shard());
  const std::int64_t out_rows = before.packed.rows();
  const std::int64_t in_rows = layer.packed.inputs();
  const auto pack = [&](const Halo& halo, float* to) {
    for (std::int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const float* from = current_.data() + panel * out_rows * kWidth;
      for (const std::uint32_t row : halo.send) {
        to = std::copy_n(from + row * kWidth, kWidth, to);
      }
    }
    return to;
  };
  std::vector<Outgoing> out;
  std::vector<Incoming> in;
  float* send = sent_.data();
  float* receive = received_.data();
  for (std::size_t shard = 0; shard < layer.halos.size(); ++shard) {
    const Halo& halo = layer.halos[shard];
    float* const sent_end = pack(halo, send);
    float* const received_end = receive + halo.receive.size() * panels.size() * kWidth;
    out.push_back({static_cast<int>(shard), std::as_bytes(std::span(send, sent_end))});
    in.push_back(
        {static_cast<int>(shard), std::as_writable_bytes(std::span(receive, received_end))});
    if (shard != me && sent_end != send) {
      bytes_sent_ += static_cast<std::int64_t>(out.back().bytes.size());
      ++messages_;
    }
    send = sent_end;
    receive = received_end;
  }
  grid_.group().exchange(out, in);
  const float* from = received_.data();
  for (const Halo& halo : layer.halos) {
    for (std::int64_t panel = 0; panel < panels.size(); ++panel) {
      const std::int64_t count = halo.receive.size() * kWidth;
      std::copy_n(from, count, inputs_.data() + (panel * in_rows + halo.receive.begin) * kWidth);
      from += count;
    }
  }
}

void Propagator::multiply(const ShardLayer& layer, const float* in, Range panels) {
  const PhaseTimer timer(times_, Phase::kCompute);
  const std::int64_t rows = layer.packed.rows();
  const std::int64_t pieces = row_pieces(rows, panels.size());
  std::vector<std::uint32_t> bits(to_size(panels.size() * pieces * kWidth), 0);
  parallel_for(panels.size() * pieces, [&](std::int64_t item, int) {
    const std::int64_t panel = item / pieces;
    const Range piece =
        split_evenly(rows, static_cast<int>(pieces), static_cast<int>(item % pieces));
    kernels::spmm(layer.packed, in + panel * layer.packed.inputs() * kWidth,
                  next_.data() + (panels.begin + panel) * rows * kWidth, piece.begin, piece.end,
                  bits.data() + item * kWidth);
  });
  for (std::int64_t item = 0; item < panels.size() * pieces; ++item) {
    for (std::int64_t column = 0; column < kWidth; ++column) {
      alive_bits_[to_size((panels.begin + item / pieces) * kWidth + column)] |=
          bits[to_size(item * kWidth + column)];
    }
  }
}

// A sample is alive if any shard of the group saw an output of it that is not zero.
void Propagator::note_alive() {
  for (std::size_t column = 0; column < active_.size(); ++column) {
    alive_[column] = alive_bits_[column] != 0 ? 1 : 0;
  }
  if (grid_.shape().row_shards > 1) {
    const PhaseTimer timer(times_, Phase::kExchange);
    grid_.group().bit_or(alive_);
  }
}

// Drops dead samples if that frees a whole panel, and moves the living together.
void Propagator::close_up(std::int64_t rows) {
  const PhaseTimer timer(times_, Phase::kCompute);
  std::vector<std::int64_t> columns;
  for (std::size_t column = 0; column < active_.size(); ++column) {
    if (alive_[column] != 0) {
      columns.push_back(static_cast<std::int64_t>(column));
    }
  }
  if (panels_of(std::ssize(columns)) == panels()) {
    return;
  }
  kernels::compact_panels(current_.data(), next_.data(), rows, columns);
  std::swap(current_, next_);
  std::vector<std::int64_t> active;
  for (const std::int64_t column : columns) {
    active.push_back(active_[to_size(column)]);
  }
  active_ = std::move(active);
  alive_.assign(active_.size(), 1);
}

}  // namespace espalier::jobs
