#include "jobs/outcome.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "framework/agree.hpp"
#include "jobs/sample_rows.hpp"
#include "kernels/samples.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t value) { return static_cast<std::size_t>(value); }

template <typename T>
std::vector<T> read_values(const io::SideFile& file, std::int64_t position, std::int64_t count) {
  std::vector<T> values(to_size(count));
  file.read(position, std::as_writable_bytes(std::span(values)));
  return values;
}

// Scales and shifts one sample's outputs and turns them into probabilities if asked.
void finish_sample(const ShardedNetwork& network, std::span<float> outputs) {
  if (network.softmax) {
    kernels::softmax(outputs);
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

}  // namespace

Outcome::Outcome(const ProcessGrid& grid, const ShardedNetwork& network, OutcomeOptions options,
                 const std::string& folder, Range group_samples)
    : grid_(grid),
      network_(network),
      options_(options),
      group_samples_(group_samples),
      side_file_(folder) {}

void Outcome::add_wave(const Comm& world, Range wave, const WaveOutput& output) {
  std::vector<std::uint8_t> alive(to_size(wave.size()), 0);
  if (network_.finishes_samples() || options_.top_k > 0 || options_.full) {
    std::vector<float> computed = exchange_outputs(
        grid_.group(), {output.panels, std::ssize(output.active), network_.layers.back().bounds},
        deal_columns(grid_, wave, output));
    locally(world, "keeping outputs", [&] { keep_samples(wave, output, computed, alive); });
    grid_.group().bit_or(alive);
  } else {
    for (std::size_t column = 0; column < output.active.size(); ++column) {
      alive[to_size(output.active[column])] = output.alive[column];
    }
  }
  alive_.insert(alive_.end(), alive.begin(), alive.end());
}

// Finishes and keeps this shard's samples of the wave, and notes which of them are alive.
//   shapes   computed (those of my samples that are active x outputs)
void Outcome::keep_samples(Range wave, const WaveOutput& output, std::span<float> computed,
                           std::vector<std::uint8_t>& alive) {
  const Range mine = split_evenly(wave.size(), grid_.shape().row_shards, grid_.row_shard());
  const std::vector<float> zeros(to_size(network_.outputs), 0.0F);
  auto active = std::lower_bound(output.active.begin(), output.active.end(), mine.begin);
  std::vector<std::uint32_t> indices;
  std::vector<float> values;
  Piece piece;
  piece.samples = {wave.begin + mine.begin, wave.begin + mine.end};
  for (std::int64_t sample = mine.begin; sample < mine.end; ++sample) {
    std::span<const float> outputs = zeros;
    if (active != output.active.end() && *active == sample) {
      const std::span<float> row = computed.first(zeros.size());
      computed = computed.subspan(zeros.size());
      finish_sample(network_, row);
      outputs = row;
      ++active;
    }
    alive[to_size(sample)] =
        std::any_of(outputs.begin(), outputs.end(), [](float y) { return y != 0; }) ? 1 : 0;
    keep_top(piece, outputs);
    for (std::size_t i = 0; options_.full && i < outputs.size(); ++i) {
      if (outputs[i] != 0) {
        indices.push_back(static_cast<std::uint32_t>(i));
        values.push_back(outputs[i]);
      }
    }
    piece.pointers.push_back(std::ssize(indices));
  }
  piece.indices_at = side_file_.append(std::as_bytes(std::span(indices)));
  piece.values_at = side_file_.append(std::as_bytes(std::span(values)));
  pieces_.push_back(std::move(piece));
}

void Outcome::keep_top(Piece& piece, std::span<const float> outputs) const {
  if (options_.top_k == 0) {
    return;
  }
  const std::size_t k = to_size(options_.top_k);
  piece.top_index.resize(piece.top_index.size() + k);
  piece.top_value.resize(piece.top_value.size() + k);
  kernels::top_k(outputs, std::span(piece.top_index).last(k), std::span(piece.top_value).last(k));
}

// For each of my pieces the non-zero outputs of all samples before it, whoever holds them.
std::vector<std::int64_t> Outcome::nnz_before_pieces(const Comm& world, std::int64_t& total) const {
  struct Count {
    std::int64_t first_sample, nnz;
  };
  std::vector<Count> mine;
  for (const Piece& piece : pieces_) {
    mine.push_back({piece.samples.begin, piece.pointers.back()});
  }
  std::vector<Count> all;
  for (const auto& bytes : world.gather_all_bytes(std::as_bytes(std::span(mine)))) {
    const std::size_t old = all.size();
    all.resize(old + bytes.size() / sizeof(Count));
    if (!bytes.empty()) {
      std::memcpy(all.data() + old, bytes.data(), bytes.size());
    }
  }
  // Empty pieces may begin where another does; they add nothing, in whatever order.
  std::sort(all.begin(), all.end(),
            [](const Count& a, const Count& b) { return a.first_sample < b.first_sample; });
  total = 0;
  std::vector<std::int64_t> before(pieces_.size(), 0);
  std::vector<std::int64_t> running;
  for (const Count& count : all) {
    running.push_back(total);
    total += count.nnz;
  }
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const auto found = std::lower_bound(
        all.begin(), all.end(), pieces_[i].samples.begin,
        [](const Count& count, std::int64_t sample) { return count.first_sample < sample; });
    before[i] = running[to_size(found - all.begin())];
  }
  return before;
}

std::int64_t Outcome::write(const Comm& world, const io::BatchReader& batch,
                            const std::string& path, const io::Provenance& provenance,
                            const io::OutputOptions& options) const {
  const bool lead = grid_.row_shard() == 0;
  const std::int64_t here =
      lead ? std::count(alive_.begin(), alive_.end(), std::uint8_t{1}) : std::int64_t{0};
  io::Result result;
  result.samples = batch.batch().samples();
  result.categories = world.sum(here);
  result.top_k = options_.top_k;
  result.sample_id = batch.batch().sample_id;
  if (options_.full) {
    std::int64_t total = 0;
    nnz_before_pieces(world, total);
    result.output = io::MatrixInfo{
        "/output", io::MatrixFormat::kCsr, result.samples, network_.outputs, total, false};
  }
  io::ResultWriter writer(world, path, result, provenance, options);
  writer.write_alive(group_samples_.begin, lead ? std::span<const std::uint8_t>(alive_)
                                                : std::span<const std::uint8_t>());
  if (result.sample_id) {
    const Range mine = split_evenly(result.samples, world.ranks(), world.rank());
    const auto ids =
        locally(world, "reading sample ids", [&] { return batch.read_sample_ids(mine); });
    writer.write_sample_ids(mine.begin, ids);
  }
  if (options_.top_k > 0 || options_.full) {
    write_pieces(world, writer);
  }
  writer.finish();
  return writer.bytes_written();
}

// Every rank writes in as many rounds as the one with most pieces.
void Outcome::write_pieces(const Comm& world, io::ResultWriter& writer) const {
  std::int64_t total = 0;
  const std::vector<std::int64_t> before = nnz_before_pieces(world, total);
  const std::int64_t rounds = world.max(std::ssize(pieces_));
  for (std::int64_t round = 0; round < rounds; ++round) {
    const bool mine = round < std::ssize(pieces_);
    const Piece empty;
    const Piece& piece = mine ? pieces_[to_size(round)] : empty;
    if (options_.top_k > 0) {
      writer.write_top(piece.samples.begin, piece.top_index, piece.top_value);
    }
    if (options_.full) {
      const auto rows = locally(world, "reading back outputs", [&] {
        kernels::CsrRows csr;
        csr.first_row = piece.samples.begin;
        csr.cols = network_.outputs;
        csr.pointers = piece.pointers;
        csr.indices = read_values<std::uint32_t>(side_file_, piece.indices_at, csr.nnz());
        csr.values = read_values<float>(side_file_, piece.values_at, csr.nnz());
        return csr;
      });
      writer.write_output(rows, mine ? before[to_size(round)] : 0);
    }
  }
}

}  // namespace espalier::jobs
