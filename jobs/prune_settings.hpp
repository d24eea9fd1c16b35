// What `espalier prune` is asked to do.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/network_file.hpp"
#include "jobs/options.hpp"
#include "kernels/prox.hpp"

namespace espalier::jobs {

enum class PruneMethod {
  kMagnitude,
  kThreshold,
  kRandom,
  kL1,
  kLp,
  kNm,
  kMask,
  kScores,
  kGroup,
  kBias,
  kLamp,
  kWanda,
  kSparseGpt,
  kCompensate  // bias with --calibrate
};
// Among which weights the largest are looked for.
enum class PruneScope { kGlobal, kLayer, kRow };
enum class PruneProfile { kNone, kUniform, kErk, kOwl, kList };

// Which weights stay or go together: blocks of rows x cols positions; 0 stands for all of a layer.
struct GroupShape {
  std::int64_t rows = 1, cols = 1;
  bool filters = false;  // of convolutions: 1 x the taps of each layer
};
// How large a group is: mean magnitude, root of the mean square, largest magnitude. Means are taken
// over all positions, so that groups of different sizes compare.
enum class GroupNorm { kOne, kTwo, kMax };

struct PruneSettings {
  PruneMethod method = PruneMethod::kMagnitude;
  PruneScope scope = PruneScope::kGlobal;
  PruneProfile profile = PruneProfile::kNone;
  // Of these at most one is there.
  std::optional<double> sparsity, threshold;
  std::optional<std::int64_t> keep;
  std::vector<double> sparsities;  // of a listed profile, one a layer
  kernels::Penalty penalty = kernels::Penalty::kL1;
  std::int64_t keep_n = 0, of_m = 0;
  bool probabilistic = false;
  std::uint64_t seed = 0;
  GroupShape group;
  GroupNorm norm = GroupNorm::kTwo;
  bool prox = false;    // groups that stay shrink
  std::string exclude;  // a regular expression, empty for none
  std::string file;     // of masks or scores
  std::string batch;    // to calibrate with
  std::string stats;    // of activations, instead of a batch
  bool update = false;  // least squares for the weights that stay
  int rounds = 1;
  bool cubic = true;                  // how sparsity grows over the rounds; else linear
  double outlier = 5, spread = 0.08;  // of the profile owl
  io::MatrixFormat layout = io::MatrixFormat::kCsr;

  bool shrinks() const noexcept { return method == PruneMethod::kL1 || method == PruneMethod::kLp; }
  // Whether layers are pruned one after the other, each with its inputs in sight. Norms from a file
  // are keys like any others, unless owl weighs the layers by them first.
  bool calibrated() const noexcept {
    const bool looks_first = stats.empty() || profile == PruneProfile::kOwl;
    return (method == PruneMethod::kWanda && looks_first) || method == PruneMethod::kSparseGpt ||
           method == PruneMethod::kCompensate;
  }
  // Whether weights that stay change.
  bool moves() const noexcept {
    return shrinks() || prox || update || method == PruneMethod::kSparseGpt;
  }
  bool needs_gram() const noexcept { return method == PruneMethod::kSparseGpt || update; }
  // Whether weights or groups of different rows compete, so that counts decide.
  bool counts() const noexcept;
  // The same for weights by their keys.
  bool selects() const noexcept {
    return counts() && method != PruneMethod::kGroup && method != PruneMethod::kLamp;
  }
};

//   throws   SharedError(kUsage, kBadConfig) naming the option, if it is malformed, missing, or
//            goes against the method
PruneSettings prune_settings(const Options& options);
// What of it matters for the result; the file counts by its content, as an input.
nlohmann::json canonical_options(const PruneSettings& settings);

// What is decided together: which layers, and how many of their weights (or groups) stay.
struct PruneGroup {
  std::vector<std::int64_t> layers;  // ascending
  std::int64_t keep = 0;
};
struct PruneTargets {
  std::vector<bool> excluded;      // by layer: carried over as they are
  std::vector<double> sparsities;  // by layer, of those that are pruned by sparsity
  std::vector<PruneGroup> groups;  // none if each row decides alone
};

//   where    pure
// Layers without weights are excluded, with groups of filters all but convolutions.
//   throws   Error(kUsage) if a list has another length than the network, if the regular expression
//            is malformed, or if every layer is excluded
PruneTargets prune_targets(const PruneSettings& settings, const io::Network& network);

}  // namespace espalier::jobs
