// Weights of models that are written before it is known whether they stay.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "io/model_output.hpp"
#include "io/side_file.hpp"
#include "jobs/candidates.hpp"
#include "jobs/dense_counting.hpp"
#include "jobs/model_ways.hpp"
#include "kernels/dense_words.hpp"

namespace espalier::jobs {

// Those that lie between two limits, of which it shows later how many stay. Borrows everything.
class DenseDoubts {
 public:
  // Those that do not fit into memory lie in a nameless file beside the output.
  DenseDoubts(const ModelRun& run, const Pieces& pieces);

  // Those of this rank's piece: element, bits of its magnitude; …
  //   where    local
  void note(std::int64_t piece, const std::vector<std::uint32_t>& doubts);
  // Calls use(number of the piece, what was noted of it) for this rank's pieces of a layer. Local.
  void visit(std::int64_t layer,
             const std::function<void(std::int64_t, const std::vector<std::uint32_t>&)>& use) const;

  // Narrows the cuts of groups that have doubts to magnitudes. Other layers have no verdict.
  //   where    collective
  std::vector<LayerVerdict> narrow(std::vector<DenseGroup>& groups) const;
  // Makes zeros in `output` of what goes by the magnitude keys of `verdicts`, and takes it from
  // `left` (by layer, of this rank). `units` are asked whether to go on.
  //   where    collective
  //   throws   SharedError: kIoFailed; kStoppedEarly
  void settle(const std::vector<LayerVerdict>& verdicts, std::vector<kernels::Left>& left,
              io::ModelOutput& output, const UnitRun& units) const;

 private:
  struct Doubts {
    std::int64_t position = 0, count = 0;
  };

  void narrow_group(std::size_t number, DenseGroup& group) const;
  kernels::Left take_back(std::int64_t layer, std::int64_t round, kernels::Cut cut,
                          io::ModelOutput& output) const;
  std::vector<std::uint32_t> doubts_of(std::int64_t piece) const;

  Context& context_;
  const Pruning& pruning_;
  const io::ModelReader& reader_;
  const Pieces& pieces_;
  std::vector<Doubts> doubts_;  // by piece
  io::SideFile file_;
};

}  // namespace espalier::jobs
