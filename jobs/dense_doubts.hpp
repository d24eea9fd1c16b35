// Weights of models that are written before it is known whether they stay.
#pragma once

#include <cstdint>
#include <vector>

#include "io/model_output.hpp"
#include "io/side_file.hpp"
#include "jobs/dense_counting.hpp"
#include "jobs/model_ways.hpp"
#include "kernels/dense_words.hpp"

namespace espalier::jobs {

// Those that lie in the bin of their group's cut and are not all equal. Borrows everything.
class DenseDoubts {
 public:
  // Those that do not fit into memory lie in a nameless file beside the output.
  DenseDoubts(const ModelRun& run, const Pieces& pieces);

  // Those of this rank's piece: element, bits of its magnitude; …
  //   where    local
  void note(std::int64_t piece, const std::vector<std::uint32_t>& doubts);

  // Narrows the cuts of `groups` to magnitudes, makes zeros in `output` of what goes and takes it
  // from `left` (by layer, of this rank). `units` are asked whether to go on.
  //   where    collective
  //   throws   SharedError: kIoFailed; kStoppedEarly
  void settle(std::vector<DenseGroup>& groups, std::vector<kernels::Left>& left,
              io::ModelOutput& output, const UnitRun& units);

 private:
  struct Doubts {
    std::int64_t position = 0, count = 0;
  };

  void settle_group(std::size_t number, DenseGroup& group, std::vector<std::int64_t>& equals);
  kernels::Left take_back(std::int64_t layer, std::int64_t round, kernels::Cut cut,
                          io::ModelOutput& output) const;
  std::vector<std::uint32_t> doubts_of(std::int64_t piece) const;
  template <typename Use>
  void for_doubts(std::size_t group, Use&& use) const;

  Context& context_;
  const Pruning& pruning_;
  const io::ModelReader& reader_;
  const Pieces& pieces_;
  std::vector<Doubts> doubts_;  // by piece
  io::SideFile file_;
};

}  // namespace espalier::jobs
