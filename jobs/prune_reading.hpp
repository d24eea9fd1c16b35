// The reading half of a pruning: what may stay goes to the candidates.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "framework/log.hpp"
#include "jobs/candidates.hpp"
#include "jobs/group_selection.hpp"
#include "jobs/job.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/weight_source.hpp"

namespace espalier::jobs {

// Reads everything once, or twice where counts decide and no sample of the rows has told enough.
// Borrows everything.
class PruneReading {
 public:
  // `group_bytes`: what may be kept in memory of groups.
  PruneReading(Context& context, const Pruning& pruning, const Pieces& pieces,
               Candidates& candidates, std::int64_t group_bytes);

  // Fills the candidates with this rank's pieces.
  //   where    collective
  //   throws   SharedError, also kDoesNotFit if the groups are too many
  //   returns  how each layer's candidates are to be decided on
  std::vector<LayerVerdict> run();

 private:
  void select(std::int64_t number, const PruneGroup& group);
  bool select_at_once(const PruneGroup& group, kernels::RadixSelect& narrowing, std::int64_t keep);
  std::uint32_t sampled_least(const PruneGroup& group, std::int64_t keep);
  void select_groups();
  void select_lamp(const PruneGroup& group);
  void count(const PruneGroup& group, std::span<std::int64_t> counts);
  void sum(std::span<std::int64_t> counts) const;
  // `note` looks at what is set aside of each piece.
  void collect(std::int64_t layer, std::uint32_t least,
               const std::function<void(const KeyedRows&)>& note = {});

  Context& context_;
  const Pruning& pruning_;
  const Pieces& pieces_;
  Candidates& candidates_;
  WeightSource source_;
  KeyedRows found_;
  std::optional<GroupSelection> groups_;
  std::int64_t group_bytes_;
  Progress progress_;
  std::int64_t done_ = 0;
  std::vector<LayerVerdict> verdicts_;
};

}  // namespace espalier::jobs
