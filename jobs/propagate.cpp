#include "jobs/propagate.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>

#include "framework/parallel.hpp"
#include "framework/watchdog.hpp"
#include "kernels/spmm.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;

// With fewer panels in a wave threads could not all be busy depth first: they share layers then.
std::int64_t fewest_panels() { return 2 * threads(); }

std::int64_t panels_of(std::int64_t samples) { return (samples + kWidth - 1) / kWidth; }

std::size_t to_size(std::int64_t value) { return static_cast<std::size_t>(value); }

// Work is cut so that every thread gets several pieces even when there are few panels; blocks of
// rows are kept whole.
std::int64_t row_pieces(const PackedRows& layer, std::int64_t panels) {
  constexpr std::int64_t kFewestRows = 64;
  const std::int64_t wanted = (4 * threads() + panels - 1) / panels;
  const std::int64_t most = layer.rows() / std::max(kFewestRows, layer.row_granularity());
  return threads() == 1 ? 1 : std::clamp<std::int64_t>(most, 1, wanted);
}

// Piece `item` of `pieces`, cut at multiples of the layer's granularity.
Range row_piece(const PackedRows& layer, std::int64_t pieces, std::int64_t item) {
  const std::int64_t grain = layer.row_granularity();
  const Range grains = split_evenly((layer.rows() + grain - 1) / grain, static_cast<int>(pieces),
                                    static_cast<int>(item));
  return {std::min(grains.begin * grain, layer.rows()), std::min(grains.end * grain, layer.rows())};
}

// Rows of a panel that is held behind a layer.
std::int64_t most_outputs(const ShardedNetwork& network) {
  std::int64_t most = 0;
  for (std::size_t id = 0; id + (network.streams_outputs ? 1 : 0) < network.layers.size(); ++id) {
    most = std::max(most, network.layers[id].packed.rows());
  }
  return most;
}

std::int64_t most_piece_rows(const PackedRows& rows) {
  std::int64_t most = 0;
  for (std::int64_t piece = 0; piece < rows.pieces(); ++piece) {
    most = std::max(most, rows.piece(piece).rows());
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

WaveOutput nothing_came_out() {
  WaveOutput output;
  output.given_up = true;
  return output;
}

}  // namespace

Propagator::Propagator(const ProcessGrid& grid, const ShardedNetwork& network,
                       const InferencePlan& plan, PhaseTimes& times, KeptOutputs kept)
    : grid_(grid),
      network_(network),
      plan_(plan),
      times_(times),
      work_(network.layers.size()),
      kept_(kept),
      features_(network),
      workers_(plan.block_panels > 0 ? to_size(threads()) : 0) {
  const std::int64_t samples = plan.block_panels > 0
                                   ? std::min(plan.wave_samples, fewest_panels() * kWidth)
                                   : plan.wave_samples;
  const std::int64_t chunk = std::min(plan.chunk_panels, samples / kWidth);
  const bool alone = grid.shape().row_shards == 1;
  if (plan.block_panels > 0 && kept.panels) {
    outputs_ = AlignedBuffer<float>(to_size(network.outputs * plan.wave_samples));
  }
  current_ = AlignedBuffer<float>(to_size(most_outputs(network) * samples));
  next_ = AlignedBuffer<float>(to_size(most_outputs(network) * samples));
  inputs_ = AlignedBuffer<float>(to_size(most_inputs(network, alone) * kWidth * chunk));
  if (!alone) {
    sent_ = AlignedBuffer<float>(to_size(most_sent(network) * kWidth * chunk));
    received_ = AlignedBuffer<float>(to_size(most_inputs(network, false) * kWidth * chunk));
  }
  for (int thread = 0; network.streams_outputs && thread < threads(); ++thread) {
    sums_.emplace_back(to_size(most_piece_rows(network.layers.back().packed) * kWidth));
  }
}

std::int64_t Propagator::panels() const {
  return panels_of(static_cast<std::int64_t>(active_.size()));
}

WaveOutput Propagator::run(const kernels::CsrRows& samples) {
  active_ = features_.samples_to_compute(samples);
  if (plan_.block_panels > 0 && panels() >= fewest_panels()) {
    return run_depth_first(samples);
  }
  alive_.assign(active_.size(), 1);
  top_.clear();
  for (std::size_t id = 0; id < network_.layers.size() && !active_.empty(); ++id) {
    if (gives_up()) {
      return nothing_came_out();
    }
    run_layer(id, samples);
    note_progress();
  }
  std::vector<std::int64_t> column(active_.size());
  std::iota(column.begin(), column.end(), 0);
  return {active_, alive_, std::move(column), kept_.panels ? current_.data() : nullptr,
          top_,    false};
}

// Shards notice at different moments, but exchange with each other in every layer.
bool Propagator::gives_up() const {
  std::uint8_t asked = give_up_ && give_up_() ? 1 : 0;
  if (give_up_ && grid_.shape().row_shards > 1) {
    grid_.group().bit_or(std::span(&asked, 1));
  }
  return asked != 0;
}

// The threads take blocks of samples as they come, and put the outcomes where they belong.
WaveOutput Propagator::run_depth_first(const kernels::CsrRows& samples) {
  const PhaseTimer timer(times_, Phase::kCompute);
  DepthFirstOutcome outcome;
  outcome.computed.assign(to_size(samples.rows()), 0);
  outcome.alive.assign(to_size(samples.rows()), 0);
  outcome.column.resize(to_size(samples.rows()));
  outcome.panels = kept_.panels ? outputs_.data() : nullptr;
  // Of few panels every thread gets some blocks. What shrinks still joins up to two panels: alone
  // it would go through all layers.
  const std::int64_t block_panels =
      std::clamp<std::int64_t>(panels() / (4 * threads()), 1, plan_.block_panels);
  const std::size_t block = to_size(block_panels * kWidth);
  std::atomic<std::size_t> next{0};
  std::atomic<bool> given_up{false};
  parallel_for(threads(), [&](std::int64_t item, int) {
    std::unique_ptr<DepthFirst>& worker = workers_[to_size(item)];
    if (!worker) {
      worker = std::make_unique<DepthFirst>(network_, features_, plan_.block_panels);
    }
    for (std::size_t at = next.fetch_add(block); at < active_.size(); at = next.fetch_add(block)) {
      if (given_up || (give_up_ && give_up_())) {
        given_up = true;
        break;
      }
      note_progress();
      worker->run(samples, std::span(active_).subspan(at, std::min(block, active_.size() - at)),
                  std::max<std::int64_t>(2, block_panels), outcome);
    }
    worker->finish(outcome);
  });
  if (given_up) {
    return nothing_came_out();
  }
  WaveOutput output;
  output.panels = outcome.panels;
  for (std::size_t sample = 0; sample < outcome.computed.size(); ++sample) {
    if (outcome.computed[sample] != 0) {
      output.active.push_back(static_cast<std::int64_t>(sample));
      output.alive.push_back(outcome.alive[sample]);
      output.column.push_back(outcome.column[sample]);
    }
  }
  return output;
}

std::vector<LayerWork> Propagator::work() const {
  std::vector<LayerWork> all = work_;
  for (const auto& worker : workers_) {
    for (std::size_t id = 0; worker && id < all.size(); ++id) {
      all[id].edges += worker->work()[id].edges;
      all[id].seconds += worker->work()[id].seconds / static_cast<double>(workers_.size());
    }
  }
  return all;
}

void Propagator::run_layer(std::size_t id, const kernels::CsrRows& samples) {
  const double start = now_seconds();
  const ShardLayer& layer = network_.layers[id];
  const std::int64_t live = layer.zero_to_zero
                                ? std::count(alive_.begin(), alive_.end(), std::uint8_t{1})
                                : std::ssize(active_);
  work_[id].edges += layer.edges * live;
  alive_bits_.assign(to_size(panels() * kWidth), 0);
  const bool in_place = id > 0 && grid_.shape().row_shards == 1;
  const bool streams = network_.streams_outputs && id + 1 == network_.layers.size();
  const std::int64_t step = in_place ? panels() : std::min(plan_.chunk_panels, panels());
  for (std::int64_t first = 0; first < panels(); first += step) {
    const Range chunk{first, std::min(first + step, panels())};
    const float* in = in_place ? current_.data() : assemble_inputs(id, samples, chunk);
    streams ? stream_outputs(layer, in, chunk) : multiply(layer, in, chunk);
  }
  if (!streams) {
    std::swap(current_, next_);
  }
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
    const std::int64_t inputs = network_.layers.front().packed.inputs();
    parallel_for(panels.size(), [&](std::int64_t item, int) {
      const std::size_t first = to_size((panels.begin + item) * kWidth);
      const std::size_t count = std::min<std::size_t>(kWidth, active_.size() - first);
      features_.fill(samples, std::span(active_).subspan(first, count),
                     inputs_.data() + item * inputs * kWidth);
    });
  } else {
    exchange_halos(network_.layers[id - 1], network_.layers[id], panels);
  }
  return inputs_.data();
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
  const std::int64_t pieces = row_pieces(layer.packed, panels.size());
  std::vector<std::uint32_t> bits(to_size(panels.size() * pieces * kWidth), 0);
  parallel_for(panels.size() * pieces, [&](std::int64_t item, int) {
    const std::int64_t panel = item / pieces;
    const Range piece = row_piece(layer.packed, pieces, item % pieces);
    compute_rows(layer, in + panel * layer.packed.inputs() * kWidth,
                 next_.data() + (panels.begin + panel) * rows * kWidth, piece,
                 bits.data() + item * kWidth);
  });
  for (std::int64_t item = 0; item < panels.size() * pieces; ++item) {
    for (std::int64_t column = 0; column < kWidth; ++column) {
      alive_bits_[to_size((panels.begin + item / pieces) * kWidth + column)] |=
          bits[to_size(item * kWidth + column)];
    }
  }
}

// Each thread takes consecutive pieces, and all panels through one piece before the next: its
// weights and sums stay in the cache.
void Propagator::stream_outputs(const ShardLayer& layer, const float* in, Range panels) {
  const PhaseTimer timer(times_, Phase::kCompute);
  const PackedRows& packed = layer.packed;
  const auto columns = [&](std::int64_t panel) {
    return std::min<std::int64_t>(kWidth, std::ssize(active_) - (panels.begin + panel) * kWidth);
  };
  std::vector<std::vector<kernels::TopPanel>> best(to_size(threads()));
  std::vector<std::uint32_t> bits(to_size(threads() * panels.size() * kWidth), 0);
  parallel_for(threads(), [&](std::int64_t item, int) {
    std::vector<kernels::TopPanel>& mine = best[to_size(item)];
    for (std::int64_t panel = 0; kept_.top_k > 0 && panel < panels.size(); ++panel) {
      mine.emplace_back(kept_.top_k, columns(panel));
    }
    float* const sums = sums_[to_size(item)].data();
    const Range pieces = split_evenly(packed.pieces(), threads(), static_cast<int>(item));
    for (std::int64_t number = pieces.begin; number < pieces.end; ++number) {
      const kernels::PackedLayer& piece = packed.piece(number);
      for (std::int64_t panel = 0; panel < panels.size(); ++panel) {
        kernels::spmm(piece, in + panel * piece.inputs() * kWidth, sums, 0, piece.rows(),
                      bits.data() + (item * panels.size() + panel) * kWidth, columns(panel));
        if (kept_.top_k > 0) {
          mine[to_size(panel)].add(sums, piece.rows(),
                                   layer.rows.begin + packed.rows_of(number).begin);
        }
      }
    }
  });
  const auto wave_bits = std::span(alive_bits_).subspan(to_size(panels.begin * kWidth));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    wave_bits[i % to_size(panels.size() * kWidth)] |= bits[i];
  }
  if (kept_.top_k > 0) {
    keep_best(best, panels);
  }
}

// Joins what the threads found best of a chunk of panels.
void Propagator::keep_best(const std::vector<std::vector<kernels::TopPanel>>& best, Range panels) {
  const std::int64_t k = std::min(kept_.top_k, network_.layers.back().packed.rows());
  for (std::int64_t panel = 0; panel < panels.size(); ++panel) {
    const std::int64_t first = (panels.begin + panel) * kWidth;
    for (std::int64_t column = 0; column < std::min(kWidth, std::ssize(active_) - first);
         ++column) {
      std::vector<kernels::Ranked> candidates;
      for (const std::vector<kernels::TopPanel>& thread : best) {
        const auto found = thread[to_size(panel)].best(column);
        candidates.insert(candidates.end(), found.begin(), found.end());
      }
      std::nth_element(candidates.begin(), candidates.begin() + k, candidates.end(),
                       kernels::ranks_before);
      top_.insert(top_.end(), candidates.begin(), candidates.begin() + k);
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
