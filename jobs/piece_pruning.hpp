// Pruning of models piece by piece, each of which is written to its place at once.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "io/model_output.hpp"
#include "jobs/dense_doubts.hpp"
#include "jobs/group_reading.hpp"
#include "jobs/lamp_reading.hpp"
#include "jobs/model_copy.hpp"
#include "jobs/model_ways.hpp"
#include "jobs/placed_units.hpp"

namespace espalier::jobs {

// Methods that decide row by row: they read everything once. Groups and LAMP: once to measure or
// count, once to write; what LAMP cannot tell yet is decided on at the end. Borrows everything.
//   exact    the bytes do not depend on ranks, threads, pieces and earlier runs
class PiecePruning final : public InPlacePruning {
 public:
  // Whether this class is what is needed, given that DensePruning cannot do it.
  static bool can(const PruneSettings& settings);
  // What the job counts: rows for each reading, and parts that are copied.
  static std::int64_t items(const ModelRun& run, const Pieces& pieces);

  //   throws   Error(kDoesNotFit) if there is too little memory for groups (local)
  PiecePruning(const ModelRun& run, ModelWork& work);

  ModelPruned run(io::ModelOutput& output) override;

 private:
  using Bytes = std::vector<std::byte>;

  Bytes read(std::int64_t layer, Range rows) const;
  kernels::CsrRows rows_of(std::int64_t layer, Range rows, std::span<const std::byte> stored) const;
  RowsRead reader() const;
  void take_piece(std::int64_t layer, std::int64_t round, io::ModelOutput& output,
                  PlacedUnits& units);
  PlacedUnit prune_piece(std::int64_t layer, std::int64_t round, io::ModelOutput& output) const;
  void decide(std::int64_t layer, std::int64_t round, KeyedRows& keyed, PlacedUnit& unit) const;
  void check_same(std::int64_t layer, std::int64_t round, std::uint32_t crc) const;

  const KeyRule keys_;
  std::optional<GroupReading> groups_;
  std::optional<LampReading> lamp_;
  std::optional<DenseDoubts> doubts_;  // of lamp
};

}  // namespace espalier::jobs
