#include "jobs/outcome.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "framework/agree.hpp"
#include "jobs/sample_rows.hpp"
#include "kernels/samples.hpp"
#include "kernels/top.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t value) { return static_cast<std::size_t>(value); }

// Scales and shifts one sample's outputs and turns them into probabilities if asked. Where neither
// is, -0 still becomes +0.
void finish_sample(const ShardedNetwork& network, std::span<float> outputs) {
  if (network.softmax) {
    kernels::softmax(outputs);
  }
  if (network.output_scale.empty() && network.output_shift.empty()) {
    for (float& y : outputs) {
      y += 0.0F;
    }
    return;
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const float scale = network.output_scale.empty() ? 1.0F : network.output_scale[i];
    const float shift = network.output_shift.empty() ? 0.0F : network.output_shift[i];
    outputs[i] = outputs[i] * scale + shift;
  }
}

// Which columns go to which shard: a shard keeps its even part of the wave's samples.
std::vector<std::int64_t> deal_columns(const ProcessGrid& grid, Range wave,
                                       const WaveOutput& output) {
  const int shards = grid.shape().row_shards;
  std::vector<std::int64_t> dealt = {0};
  for (int shard = 0; shard < shards; ++shard) {
    const Range part = split_evenly(wave.size(), shards, shard);
    dealt.push_back(std::lower_bound(output.active.begin(), output.active.end(), part.end) -
                    output.active.begin());
  }
  return dealt;
}

std::int64_t count_nonzero(std::span<const float> outputs) {
  std::uint32_t count = 0;
  for (const float y : outputs) {
    count += y != 0 ? 1U : 0U;
  }
  return count;
}

// Adds the largest of one sample's outputs to `piece`.
void keep_largest(std::int64_t top_k, std::span<const float> outputs, OutcomePiece& piece) {
  const std::size_t k = to_size(top_k);
  piece.top_index.resize(piece.top_index.size() + k);
  piece.top_value.resize(piece.top_value.size() + k);
  kernels::top_k(outputs, std::span(piece.top_index).last(k), std::span(piece.top_value).last(k));
}

// Adds the outputs of one sample that are not zero to `piece`, whose pointers are there.
void append_nonzero(std::span<const float> outputs, OutcomePiece& piece) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] != 0) {
      piece.indices.push_back(static_cast<std::uint32_t>(i));
      piece.values.push_back(outputs[i]);
    }
  }
}

// A message is made of ranges, each followed by one byte for every sample in it.
void append_range(std::vector<std::byte>& message, Range range, std::span<const std::byte> bytes) {
  const auto header = std::as_bytes(std::span(&range, 1));
  message.insert(message.end(), header.begin(), header.end());
  message.insert(message.end(), bytes.begin(), bytes.end());
}

// Puts the ranges of a message, all within `mine`, in their places; returns how many samples.
std::int64_t place_ranges(std::span<const std::byte> message, Range mine,
                          std::span<std::uint8_t> places) {
  std::int64_t samples = 0;
  while (!message.empty()) {
    Range range;
    std::memcpy(&range, message.data(), sizeof range);
    message = message.subspan(sizeof range);
    std::memcpy(places.data() + (range.begin - mine.begin), message.data(), to_size(range.size()));
    message = message.subspan(to_size(range.size()));
    samples += range.size();
  }
  return samples;
}

}  // namespace

KeptOutputs kept_outputs(const ShardedNetwork& network, const OutcomeOptions& options) noexcept {
  if (network.streams_outputs) {
    return {false, options.top_k};
  }
  return {network.finishes_samples() || options.top_k > 0 || options.full, 0};
}

Outcome::Outcome(const ProcessGrid& grid, const ShardedNetwork& network, OutcomeOptions options,
                 io::UnitRecord& record, Target target)
    : grid_(grid),
      network_(network),
      options_(options),
      record_(record),
      target_(std::move(target)) {
  // What earlier runs have finished would have to be written first.
  if (options_.full && record_.finished().empty() && !target_.options.compress) {
    const std::int64_t samples = target_.samples.size();
    early_.emplace(EarlyResult::Plan{target_.path, plan_result(samples, samples * network_.outputs),
                                     target_.provenance, target_.options});
  }
}

void Outcome::add_wave(const Comm& world, Range wave, const WaveOutput& output) {
  const KeptOutputs kept = kept_outputs(network_, options_);
  std::vector<kernels::Ranked> best;
  if (kept.panels) {
    computed_ = exchange_outputs(grid_.group(),
                                 {output.panels, output.column, network_.layers.back().bounds},
                                 deal_columns(grid_, wave, output), std::move(computed_));
  } else if (kept.top_k > 0) {
    best = exchange_best(grid_.group(), output.top, deal_columns(grid_, wave, output));
  }
  locally(world, "keeping outputs", [&] {
    const Range mine = split_evenly(wave.size(), grid_.shape().row_shards, grid_.row_shard());
    piece_.samples = {wave.begin + mine.begin, wave.begin + mine.end};
    kept.top_k > 0 ? keep_best(mine, output, best) : keep_samples(mine, output);
    if (!mine.empty()) {
      add_outcome(record_, piece_, options_);
    }
  });
}

void Outcome::write_early(const Comm& world) {
  if (early_) {
    early_->add(world, piece_);
  }
}

// Finishes this shard's samples of the wave and notes which of them are alive. Of those that are
// not active all outputs are zero.
void Outcome::keep_samples(Range mine, const WaveOutput& output) {
  const bool known = kept_outputs(network_, options_).panels;
  const std::vector<float> zeros(known ? to_size(network_.outputs) : 0, 0.0F);
  const auto first = std::lower_bound(output.active.begin(), output.active.end(), mine.begin);
  auto active = first;
  std::span<float> rest = computed_;
  piece_.alive.clear();
  piece_.top_index.clear();
  piece_.top_value.clear();
  piece_.pointers.assign(options_.full ? 1 : 0, 0);
  for (std::int64_t sample = mine.begin; sample < mine.end; ++sample) {
    const bool here = active != output.active.end() && *active == sample;
    bool alive = here && output.alive[to_size(active - output.active.begin())] != 0;
    std::span<const float> outputs = zeros;
    if (here && known) {
      finish_sample(network_, rest.first(zeros.size()));
      outputs = rest.first(zeros.size());
      rest = rest.subspan(zeros.size());
    }
    active += here ? 1 : 0;
    if (known) {
      alive = std::any_of(outputs.begin(), outputs.end(), [](float y) { return y != 0; });
    }
    piece_.alive.push_back(alive ? 1 : 0);
    if (options_.top_k > 0) {
      keep_largest(options_.top_k, outputs, piece_);
    }
    if (options_.full) {
      piece_.pointers.push_back(piece_.pointers.back() + count_nonzero(outputs));
    }
  }
  if (options_.full) {
    keep_full(mine, {first, active});
  }
}

// Moves the full outputs of my samples into the piece, whose pointers are there; those that are
// `active` have been computed.
void Outcome::keep_full(Range mine, std::span<const std::int64_t> active) {
  const std::size_t outputs = to_size(network_.outputs);
  piece_.nonzero = piece_.pointers.back();
  piece_.whole = keeps_whole(mine.size(), network_.outputs, piece_.nonzero);
  piece_.indices.clear();
  if (piece_.whole) {
    piece_.pointers.clear();
  }
  if (piece_.whole && std::ssize(active) == mine.size()) {
    std::swap(piece_.values, computed_);
    return;
  }
  piece_.values.assign(piece_.whole ? to_size(mine.size()) * outputs : 0, 0.0F);
  for (std::size_t i = 0; i < active.size(); ++i) {
    const auto row = std::span(computed_).subspan(i * outputs, outputs);
    if (piece_.whole) {
      std::copy(row.begin(), row.end(),
                piece_.values.begin() + (active[i] - mine.begin) * network_.outputs);
    } else {
      append_nonzero(row, piece_);
    }
  }
}

// The same where only the best outputs of samples are known; without any, those of a dead sample.
void Outcome::keep_best(Range mine, const WaveOutput& output,
                        std::span<kernels::Ranked> candidates) {
  const auto first = std::lower_bound(output.active.begin(), output.active.end(), mine.begin);
  const auto last = std::lower_bound(first, output.active.end(), mine.end);
  const std::size_t k = to_size(options_.top_k);
  const std::size_t each = first == last ? 0 : candidates.size() / to_size(last - first);
  piece_.alive.assign(to_size(mine.size()), 0);
  piece_.top_value.assign(to_size(mine.size()) * k, 0.0F);
  piece_.top_index.clear();
  for (std::int64_t sample = 0; sample < mine.size(); ++sample) {
    for (std::size_t place = 0; place < k; ++place) {
      piece_.top_index.push_back(static_cast<std::int64_t>(place));
    }
  }
  for (auto active = first; active != last; ++active) {
    const std::size_t sample = to_size(*active - mine.begin);
    piece_.alive[sample] = output.alive[to_size(active - output.active.begin())];
    kernels::best_of(candidates.first(each), std::span(piece_.top_index).subspan(sample * k, k),
                     std::span(piece_.top_value).subspan(sample * k, k));
    candidates = candidates.subspan(each);
  }
}

// The record's units by ascending samples.
std::vector<std::size_t> Outcome::units_in_order() const {
  std::vector<std::size_t> order(record_.units());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return record_.items(a).begin < record_.items(b).begin;
  });
  return order;
}

std::vector<std::uint8_t> Outcome::exchange_alive(const Comm& world) const {
  const std::int64_t samples = target_.samples.size();
  std::vector<std::vector<std::byte>> to_rank(to_size(world.ranks()));
  locally(world, "reading back outcomes", [&] {
    for (std::size_t unit = 0; unit < record_.units(); ++unit) {
      const Range range = record_.items(unit);
      std::vector<std::byte> alive(to_size(range.size()));
      record_.read(unit, 0, alive);
      for (std::int64_t at = range.begin; at < range.end;) {
        const int owner = owner_evenly(samples, world.ranks(), at);
        const std::int64_t end =
            std::min(range.end, split_evenly(samples, world.ranks(), owner).end);
        append_range(to_rank[to_size(owner)], {at, end},
                     std::span(alive).subspan(to_size(at - range.begin), to_size(end - at)));
        at = end;
      }
    }
  });
  const auto messages = world.exchange_all(to_rank);
  return locally(world, "joining outcomes", [&] {
    const Range mine = split_evenly(samples, world.ranks(), world.rank());
    std::vector<std::uint8_t> alive(to_size(mine.size()));
    std::int64_t known = 0;
    for (const auto& message : messages) {
      known += place_ranges(message, mine, alive);
    }
    expects(known == mine.size(), "every sample has an outcome");
    return alive;
  });
}

// For each of my units in order the non-zero outputs of all samples before it, whoever holds them.
std::vector<std::int64_t> Outcome::nnz_before_units(const Comm& world, std::int64_t& total) const {
  struct Count {
    std::int64_t first_sample, nnz;
  };
  std::vector<Count> mine;
  for (const std::size_t unit : units_in_order()) {
    const Range samples = record_.items(unit);
    mine.push_back({samples.begin, nonzero_of_outcome(record_, unit, options_)});
  }
  std::vector<Count> all;
  for (const auto& bytes : world.gather_all_bytes(std::as_bytes(std::span(mine)))) {
    const std::size_t old = all.size();
    all.resize(old + bytes.size() / sizeof(Count));
    if (!bytes.empty()) {
      std::memcpy(all.data() + old, bytes.data(), bytes.size());
    }
  }
  std::sort(all.begin(), all.end(),
            [](const Count& a, const Count& b) { return a.first_sample < b.first_sample; });
  total = 0;
  std::vector<std::int64_t> before;
  auto next = mine.begin();
  for (const Count& count : all) {
    if (next != mine.end() && next->first_sample == count.first_sample) {
      before.push_back(total);
      ++next;
    }
    total += count.nnz;
  }
  return before;
}

io::Result Outcome::plan_result(std::int64_t categories, std::int64_t nonzero) const {
  io::Result result;
  result.samples = target_.samples.size();
  result.categories = categories;
  result.top_k = options_.top_k;
  result.sample_id = target_.sample_id;
  if (options_.full) {
    result.output = io::MatrixInfo{
        "/output", io::MatrixFormat::kCsr, result.samples, network_.outputs, nonzero, false};
  }
  return result;
}

std::int64_t Outcome::write(const Comm& world, const io::BatchReader& batch,
                            std::span<const std::uint8_t> alive) {
  std::unique_ptr<io::ResultWriter> writer = early_ ? early_->take() : nullptr;
  const bool written = writer != nullptr;
  if (!written) {
    std::int64_t nonzero = 0;
    if (options_.full) {
      nnz_before_units(world, nonzero);
    }
    const auto categories = world.sum(std::count(alive.begin(), alive.end(), std::uint8_t{1}));
    writer = std::make_unique<io::ResultWriter>(
        world, target_.path, plan_result(categories, nonzero), target_.provenance, target_.options);
  }
  const Range mine = split_evenly(target_.samples.size(), world.ranks(), world.rank());
  writer->write_alive(mine.begin, alive);
  if (target_.sample_id) {
    const auto ids = locally(world, "reading sample ids", [&] {
      const std::int64_t first = target_.samples.begin;
      return batch.read_sample_ids({first + mine.begin, first + mine.end});
    });
    writer->write_sample_ids(mine.begin, ids);
  }
  if (!written && (options_.top_k > 0 || options_.full)) {
    write_units(world, *writer);
  }
  writer->finish();
  return writer->bytes_written();
}

// Every rank writes in as many rounds as the one with most units.
void Outcome::write_units(const Comm& world, io::ResultWriter& writer) {
  std::int64_t total = 0;
  const std::vector<std::int64_t> before =
      options_.full ? nnz_before_units(world, total) : std::vector<std::int64_t>();
  const std::vector<std::size_t> order = units_in_order();
  const std::int64_t rounds = world.max(std::ssize(order));
  const kernels::CsrRows none;
  kernels::CsrRows rows;
  for (std::int64_t round = 0; round < rounds; ++round) {
    const bool mine = round < std::ssize(order);
    locally(world, "reading back outcomes", [&] {
      piece_ = mine ? read_outcome(record_, order[to_size(round)], options_, network_.outputs,
                                   std::move(piece_))
                    : OutcomePiece{};
    });
    if (options_.top_k > 0) {
      writer.write_top(piece_.samples.begin, piece_.top_index, piece_.top_value);
    }
    if (options_.full) {
      rows.first_row = piece_.samples.begin;
      rows.cols = network_.outputs;
      std::swap(rows.pointers, piece_.pointers);
      std::swap(rows.indices, piece_.indices);
      std::swap(rows.values, piece_.values);
      mine ? writer.write_output(rows, before[to_size(round)]) : writer.write_output(none, 0);
    }
  }
}

}  // namespace espalier::jobs
