// Pruning by magnitude of weights that stay dense and as they are stored: a model in, a model out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "io/model_output.hpp"
#include "jobs/dense_counting.hpp"
#include "jobs/dense_doubts.hpp"
#include "jobs/model_copy.hpp"
#include "jobs/model_ways.hpp"
#include "jobs/placed_units.hpp"
#include "kernels/dense_words.hpp"

namespace espalier::jobs {

// Decides on the largest magnitudes among groups of layers, in each row, or beyond a threshold, and
// writes what stays, and all that is not pruned. Reads everything once; twice where weights of
// different rows compete. Borrows everything.
//   exact    the bytes do not depend on ranks, threads, pieces and earlier runs
class DensePruning final : public InPlacePruning {
 public:
  // Whether this class can do what is asked for.
  static bool can(const PruneSettings& settings);
  // What the job counts: rows for each reading, and parts that are copied.
  static std::int64_t items(const ModelRun& run, const Pieces& pieces);

  //   throws   Error(kDoesNotFit) if there is too little memory for counts (local)
  DensePruning(const ModelRun& run, ModelWork& work);

  ModelPruned run(io::ModelOutput& output) override;

 private:
  // Words >= above stay, those below least go; of those between, `equals` of the group stay.
  struct Limits {
    std::uint32_t least = 0, above = 0;
  };
  struct Chunk {
    Range rows;
    std::int64_t equals = 0, stay = 0;
    kernels::Left left;
    std::uint32_t read_crc = 0, written_crc = 0;
    std::vector<std::uint32_t> doubts;  // element of the chunk, bits of its magnitude; …
  };
  // This rank's piece of a round.
  struct Piece {
    std::int64_t layer, round;
    Range rows, items;
    ModelStretch stretch;
    std::int64_t row_bytes;
    bool shared;  // its group deals out equals
    std::vector<Chunk> chunks;
    std::optional<PlacedUnit> done;  // at last, or by an earlier run
  };
  using Words = std::span<std::byte>;

  Piece piece_of(std::int64_t layer, std::int64_t round) const;
  Limits limits_of(std::int64_t layer) const;
  void prune_piece(Piece& piece, io::ModelOutput& output, PlacedUnits& units);
  Words words_of(const Piece& piece, const Chunk& chunk, int thread);
  void read(const Piece& piece, Chunk& chunk, Words words) const;
  void read_shared(Piece& piece);
  void share(Piece& piece);
  void write(Piece& piece, io::ModelOutput& output);
  void decide(std::int64_t layer, Chunk& chunk, Words words) const;
  void find_doubts(std::int64_t layer, Limits limits, Words words, Chunk& chunk) const;
  PlacedUnit join(const Piece& piece) const;
  void keep(const Piece& piece);
  std::optional<double> threshold() const noexcept;

  const std::vector<ModelStretch> rest_;
  DenseCounting counting_;
  std::vector<std::int64_t> group_of_;  // by layer; -1: none
  std::vector<DenseGroup> groups_;
  std::vector<std::vector<std::byte>> buffers_;  // by thread
  std::vector<std::byte> piece_;
  DenseDoubts doubts_;
};

}  // namespace espalier::jobs
