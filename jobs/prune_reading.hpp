// The reading half of a pruning: what may stay goes to the candidates.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "framework/log.hpp"
#include "jobs/candidates.hpp"
#include "jobs/group_reading.hpp"
#include "jobs/job.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/unit_run.hpp"
#include "jobs/weight_source.hpp"

namespace espalier::jobs {

// The passes over all rows of a network, as Pieces::items counts them: what is finished of each is
// kept on its own.
enum PrunePass : std::int64_t { kSettingAside = 0, kCounting = 1, kPrunePasses = 2 };

// How often PruneReading may have to read the rows; the passes of CalibratedPruning follow these.
//   where    pure
std::int64_t reading_passes_of(const PruneSettings& settings);
// All passes that a run may need: UnitRecord's items are those of all of them.
std::int64_t passes_of(const PruneSettings& settings);

// Reads everything once, or twice where counts decide. Each piece is a unit of `run`; what earlier
// runs have finished is not read again. Borrows everything.
class PruneReading {
 public:
  PruneReading(Context& context, const Pruning& pruning, const Pieces& pieces,
               Candidates& candidates, UnitRun& run);

  // Fills the candidates with this rank's pieces.
  //   where    collective
  //   throws   SharedError, also kDoesNotFit if the groups need more than `group_bytes` of memory;
  //            kStoppedEarly
  //   returns  how each layer's candidates are to be decided on
  std::vector<LayerVerdict> run(std::int64_t group_bytes);

 private:
  void select(std::int64_t number, const PruneGroup& group);
  bool select_at_once(const PruneGroup& group, kernels::RadixSelect& narrowing, std::int64_t keep);
  std::uint32_t sampled_least(const PruneGroup& group, std::int64_t keep);
  void select_groups(std::int64_t group_bytes);
  void select_lamp(const PruneGroup& group);
  RowsRead reader();
  void count(const PruneGroup& group, std::span<std::int64_t> counts);
  void count_piece(std::int64_t layer, std::int64_t round, std::span<std::int64_t> counts);
  void sum(std::span<std::int64_t> counts) const;
  // `note` looks at what is set aside of each piece.
  void collect(std::int64_t layer, std::uint32_t least,
               const std::function<void(const KeyedView&)>& note = {});
  void collect_piece(std::int64_t layer, std::int64_t round, std::uint32_t least,
                     const std::function<void(const KeyedView&)>& note);
  template <typename Work>
  void for_each_round(std::int64_t pass, std::int64_t layer, const char* doing, Work&& work);

  Context& context_;
  const Pruning& pruning_;
  const Pieces& pieces_;
  Candidates& candidates_;
  UnitRun& run_;
  WeightSource source_;
  KeyedRows found_;
  std::vector<std::int64_t> counted_;  // in one piece
  std::optional<GroupReading> groups_;
  Progress progress_;
  std::int64_t done_ = 0;
  std::vector<LayerVerdict> verdicts_;
};

}  // namespace espalier::jobs
