// Stretches of a model that are in their places in PATH.part, and the units that say so
// (io/FORMAT.md, "What an unfinished job leaves").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/model_layers.hpp"
#include "io/model_output.hpp"
#include "jobs/job.hpp"
#include "jobs/model_copy.hpp"
#include "jobs/unit_run.hpp"

namespace espalier::jobs {

// What is known of a stretch once it has been written.
struct PlacedUnit {
  std::uint32_t read_crc = 0;     // of the model's bytes
  std::uint32_t written_crc = 0;  // of those written, doubts taken as 0
  std::int64_t kept = 0;          // weights that stay; those in doubt among them
  double removed_squares = 0;
  std::int64_t equals = 0;            // met of those that a group deals out while it is written
  std::vector<std::uint32_t> doubts;  // element of the stretch, bits of its magnitude; …
};

// Notes and finds such units. What they speak of is in the output only, so an earlier run's are
// trusted when model and output have been read again and are found to be what they were.
class PlacedUnits {
 public:
  // Borrows everything; `digest` is told of every byte of the model that is read first.
  PlacedUnits(Context& context, UnitRun& run, const io::ModelReader& reader,
              io::ModelOutput& output, ModelDigest& digest)
      : context_(context), run_(run), reader_(reader), output_(output), digest_(digest) {}

  // Whether an earlier run has finished the unit of just these items. Local.
  bool has(Range items) const { return run_.record().has(items); }
  // Finds it, checks it, and puts elements in doubt (of `width` bytes) back to what the model has.
  //   where    local, outside of parallel_for
  //   throws   Error: kBadData if the model has changed or the output is damaged; kStoppedEarly
  //   cost     reads the stretch twice, from the model and from the output
  PlacedUnit find(Range items, const ModelStretch& stretch, std::int64_t width);
  // Adds what is in its place now. Local.
  void add(Range items, const ModelStretch& stretch, const PlacedUnit& unit);

  // Copies stretches of the model, each a unit; `first` is the item of the first one.
  //   where    collective
  void copy(const std::vector<ModelStretch>& parts, std::int64_t first);

 private:
  void copy_parts(const std::vector<ModelStretch>& parts, Range mine, std::int64_t first);

  Context& context_;
  UnitRun& run_;
  const io::ModelReader& reader_;
  io::ModelOutput& output_;
  ModelDigest& digest_;
};

}  // namespace espalier::jobs
