// Where the cut lies in groups of dense weights that compete: the first reading of a model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "framework/log.hpp"
#include "io/model_layers.hpp"
#include "io/unit_record.hpp"
#include "jobs/job.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/unit_run.hpp"
#include "kernels/dense_words.hpp"

namespace espalier::jobs {

// What is known of a group once it is counted.
struct DenseGroup {
  bool settled = false;  // nothing is in doubt
  bool exact = false;    // all in doubt are equal: decided on when they are met
  // That of the cut, and how many of those in it stay.
  std::int64_t bin = 0, equals = 0;
  std::uint32_t cut = 0;  // bits of the magnitude that decides, as far as they are known
};

// Counts the magnitudes of each group in kernels::kBins bins. Pieces are units of the job's first
// pass: those of a group that is decided on hold the decision; if a save comes before, the first
// of a rank's new ones holds the rank's new counts. So units are small, and nothing is counted
// twice.
//   exact    independent of ranks, threads and earlier runs
class DenseCounting {
 public:
  // Borrows all. `count_bytes`: what counts may take.
  //   throws   Error(kDoesNotFit) if that is too little (local)
  DenseCounting(Context& context, const Pruning& pruning, const io::ModelReader& reader,
                const Pieces& pieces, std::int64_t count_bytes);

  //   where    collective
  //   throws   SharedError; kBadData if a weight is not finite; kStoppedEarly
  void run(UnitRun& units, Progress& progress);
  // Adds what has been counted and is in no unit yet. To be called before each save. Local.
  void put_down(io::UnitRecord& record);

  // By number, as in PruneTargets.
  const std::vector<DenseGroup>& groups() const noexcept { return groups_; }
  // Complains if other bytes of this rank's piece are read now than have been counted. Local.
  //   throws   Error(kBadData)
  void check_same(std::int64_t layer, std::int64_t round, std::uint32_t crc) const;

 private:
  struct Counted {
    Range items;
    std::uint32_t crc;
  };

  void count_group(std::size_t number, UnitRun& units, Progress& progress);
  void count_piece(std::int64_t layer, std::int64_t round, const io::UnitRecord& record);
  std::uint32_t count_rows(std::int64_t layer, Range rows);
  void check_finite(std::int64_t layer, Range rows);
  void fold_tables();
  bool take_units(std::size_t number, const io::UnitRecord& record);
  void decide(std::size_t number);
  void gather_counts();
  Range items_of(std::int64_t layer, std::int64_t round) const;

  Context& context_;
  const Pruning& pruning_;
  const io::ModelReader& reader_;
  const Pieces& pieces_;
  std::vector<DenseGroup> groups_;
  std::vector<std::vector<std::int64_t>> tables_;  // new counts of words, one table a thread
  kernels::WordKind kind_{};                       // of those words
  std::vector<std::int64_t> bins_;                 // new counts, of words that are folded
  std::vector<Counted> counted_;                   // in no unit yet
  std::vector<std::int64_t> crcs_;                 // of this rank's pieces by number; -1: not known
  std::vector<std::vector<std::byte>> buffers_;    // by thread
};

}  // namespace espalier::jobs
