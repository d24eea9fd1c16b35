// From the last layer's panels to the result file: what is kept of each sample.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/grid.hpp"
#include "framework/shard.hpp"
#include "io/batch_file.hpp"
#include "io/result_file.hpp"
#include "io/unit_record.hpp"
#include "jobs/early_result.hpp"
#include "jobs/outcome_piece.hpp"
#include "jobs/propagate.hpp"
#include "jobs/sharded_network.hpp"

namespace espalier::jobs {

// What the waves have to keep of the last layer's outputs.
KeptOutputs kept_outputs(const ShardedNetwork& network, const OutcomeOptions& options) noexcept;

// Collects the outcomes of waves in a record, and the result file in the end. Within a group each
// shard keeps whole samples: its own even part of every wave.
class Outcome {
 public:
  struct Target {
    std::string path;
    Range samples;  // of the batch, which the items of the record stand for
    std::optional<io::ElementType> sample_id;
    io::Provenance provenance;
    io::OutputOptions options;
  };
  // Borrows everything but `options` and `target` for its life.
  Outcome(const ProcessGrid& grid, const ShardedNetwork& network, OutcomeOptions options,
          io::UnitRecord& record, Target target);

  // Adds the group's wave of global samples `wave` (may be none).
  //   where    collective over `world`: all groups together
  void add_wave(const Comm& world, Range wave, const WaveOutput& output);
  // Writes the wave that was added last to the result file, if all sizes are foreseen.
  //   where    collective over `world`
  void write_early(const Comm& world);

  // One byte a sample of this rank's even part of all samples, once every sample is in the record.
  //   where    collective over `world`
  std::vector<std::uint8_t> exchange_alive(const Comm& world) const;

  // Completes the result file; `alive` is what exchange_alive gave, sample ids are carried over
  // from `batch`.
  //   where    collective over `world`
  //   throws   SharedError
  //   returns  bytes written by this rank
  std::int64_t write(const Comm& world, const io::BatchReader& batch,
                     std::span<const std::uint8_t> alive);

 private:
  void keep_samples(Range mine, const WaveOutput& output);
  void keep_full(Range mine, std::span<const std::int64_t> active);
  void keep_best(Range mine, const WaveOutput& output, std::span<kernels::Ranked> candidates);
  io::Result plan_result(std::int64_t categories, std::int64_t nonzero) const;
  std::vector<std::size_t> units_in_order() const;
  std::vector<std::int64_t> nnz_before_units(const Comm& world, std::int64_t& total) const;
  void write_units(const Comm& world, io::ResultWriter& writer);

  const ProcessGrid& grid_;
  const ShardedNetwork& network_;
  OutcomeOptions options_;
  io::UnitRecord& record_;
  Target target_;
  std::optional<EarlyResult> early_;
  // Of the latest wave; their memory serves the next.
  std::vector<float> computed_;  // outputs of those of my samples that are active
  OutcomePiece piece_;
};

}  // namespace espalier::jobs
