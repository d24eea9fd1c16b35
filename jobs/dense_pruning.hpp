// Pruning by magnitude of weights that stay dense and as they are stored: a model in, a model out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/log.hpp"
#include "io/model_layers.hpp"
#include "io/model_output.hpp"
#include "io/side_file.hpp"
#include "jobs/candidates.hpp"
#include "jobs/job.hpp"
#include "jobs/model_copy.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "kernels/dense_words.hpp"

namespace espalier::jobs {

// Decides on the largest magnitudes among groups of layers, in each row, or beyond a threshold, and
// writes what stays. Reads everything once; twice where weights of different rows compete. Borrows
// everything.
//   exact    the bytes do not depend on ranks, threads and pieces
class DensePruning {
 public:
  // Whether this class can do what is asked for.
  static bool can(const PruneSettings& settings);

  // `count_bytes`: what counts may take; `folder` takes what is in doubt.
  //   throws   Error(kDoesNotFit) if that is too little (local)
  DensePruning(Context& context, const Pruning& pruning, const io::ModelReader& reader,
               const Pieces& pieces, std::int64_t count_bytes, const std::string& folder);

  // Counts where weights compete.
  //   where    collective
  //   throws   SharedError; kBadData if a weight is not finite
  void count();
  // Prunes a layer into `output`; layers in ascending order.
  //   where    collective
  void prune(std::int64_t layer, io::ModelOutput& output, ModelDigest& digest);
  // Decides on what was left in doubt.
  //   where    collective
  void settle(io::ModelOutput& output);

  std::vector<LayerOutcome> outcomes() const;        // collective
  std::optional<double> threshold() const noexcept;  // of a single group

 private:
  // Words >= above stay, those below least go; of those between, `equals` of the group stay.
  struct Limits {
    std::uint32_t least = 0, above = 0;
  };
  struct Group {
    bool settled = false;  // nothing is in doubt
    bool exact = false;    // all in doubt are equal: decided on when they are met
    std::int64_t bin = 0, equals = 0;
    std::uint32_t cut = 0;  // bits of the magnitude that decided
  };
  struct Chunk {
    Range rows;
    std::int64_t equals = 0, stay = 0;
    kernels::Left left;
    std::uint32_t crc = 0;
    std::vector<std::uint32_t> doubts;  // element of the piece, bits of its magnitude; …
  };
  struct Doubts {
    std::int64_t position = 0, count = 0;
  };
  using Words = std::span<std::byte>;

  void count_group(std::size_t number);
  void count_piece(std::int64_t layer, Range rows);
  void gather_counts(std::span<std::int64_t> bins) const;
  Limits limits_of(std::int64_t layer) const;
  std::vector<Chunk> cut_rows(std::int64_t layer, Range rows) const;
  void read(std::int64_t layer, Chunk& chunk, Words words) const;
  void decide(std::int64_t layer, Chunk& chunk, Words words);
  void find_doubts(std::int64_t layer, Limits limits, std::int64_t first, Words words,
                   Chunk& chunk) const;
  void share(std::int64_t group, std::vector<Chunk>& chunks);
  void keep_chunks(std::int64_t layer, std::int64_t round, std::vector<Chunk>& chunks,
                   ModelDigest& digest);
  void settle_group(std::int64_t number, std::vector<std::int64_t>& equals);
  void take_back(std::int64_t layer, std::int64_t round, std::int64_t stay,
                 io::ModelOutput& output);
  template <typename Use>
  void for_doubts(std::int64_t group, Use&& use) const;

  Context& context_;
  const Pruning& pruning_;
  const io::ModelReader& reader_;
  const Pieces& pieces_;
  std::vector<std::int64_t> group_of_;  // by layer; -1: none
  std::vector<Group> groups_;
  std::vector<std::vector<std::int64_t>> tables_;  // counts, one table a counting thread
  std::vector<std::vector<std::byte>> buffers_;    // by thread
  std::vector<std::byte> piece_;
  std::vector<kernels::Left> left_;  // by layer, of this rank
  std::vector<Doubts> doubts_;       // by piece
  io::SideFile doubtful_;
  Progress progress_;
  std::int64_t done_ = 0;
};

}  // namespace espalier::jobs
