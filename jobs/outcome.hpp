// From the last layer's panels to the result file: what is kept of each sample.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "framework/grid.hpp"
#include "framework/shard.hpp"
#include "io/batch_file.hpp"
#include "io/result_file.hpp"
#include "io/side_file.hpp"
#include "jobs/propagate.hpp"
#include "jobs/sharded_network.hpp"

namespace espalier::jobs {

struct OutcomeOptions {
  std::int64_t top_k = 0;  // 0: none
  bool full = false;       // all non-zero outputs
};

// Collects the outcomes of a group's waves. Within a group each shard keeps whole samples of its
// own even part of every wave; what all of them share is which samples are alive.
class Outcome {
 public:
  // `folder` takes the side file of full outputs; `group_samples` are the group's global samples.
  Outcome(const ProcessGrid& grid, const ShardedNetwork& network, OutcomeOptions options,
          const std::string& folder, Range group_samples);

  // Adds the group's wave of global samples `wave`, the next ones in order (may be none).
  //   where    collective over `world`: all groups together
  //   throws   SharedError(kIoFailed) if full outputs do not fit on the disk
  void add_wave(const Comm& world, Range wave, const WaveOutput& output);

  // One byte a sample of the group, the same on every shard of it.
  const std::vector<std::uint8_t>& alive() const noexcept { return alive_; }

  // Writes the result file of all groups; sample ids are carried over from `batch`.
  //   where    collective over `world`
  //   throws   SharedError
  //   returns  bytes written by this rank
  std::int64_t write(const Comm& world, const io::BatchReader& batch, const std::string& path,
                     const io::Provenance& provenance, const io::OutputOptions& options) const;

 private:
  // What this shard keeps of one wave.
  struct Piece {
    Range samples;  // global
    std::vector<std::int64_t> top_index;
    std::vector<float> top_value;
    std::vector<std::int64_t> pointers = {0};    // of the full output
    std::int64_t indices_at = 0, values_at = 0;  // in the side file
  };

  void keep_samples(Range wave, const WaveOutput& output, std::span<float> computed,
                    std::vector<std::uint8_t>& alive);
  void keep_top(Piece& piece, std::span<const float> outputs) const;
  std::vector<std::int64_t> nnz_before_pieces(const Comm& world, std::int64_t& total) const;
  void write_pieces(const Comm& world, io::ResultWriter& writer) const;

  const ProcessGrid& grid_;
  const ShardedNetwork& network_;
  OutcomeOptions options_;
  Range group_samples_;
  std::vector<std::uint8_t> alive_;
  std::vector<Piece> pieces_;
  io::SideFile side_file_;
};

}  // namespace espalier::jobs
