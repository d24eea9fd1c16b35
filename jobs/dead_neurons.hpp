// Neurons that no longer do anything, taken out of a chain of layers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "framework/comm.hpp"
#include "io/layer_reader.hpp"
#include "io/network_file.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/pieces.hpp"
#include "jobs/unit_run.hpp"
#include "jobs/weight_source.hpp"

namespace espalier::jobs {

// A neuron none of whose incoming weights is left puts out the constant a = act(bias): its outgoing
// weights times a go to the biases they lead to, and it is dropped. A neuron that nobody reads is
// dropped as well. One sweep forward and one back leave neither behind. Inputs and outputs of the
// network stay, and of each layer at least one neuron. A constant that is not zero stays a neuron
// where the layer after it adds its bias only to sums that are not zero.
// Borrows everything. The network is a chain. Each piece, with constants folded, is a unit of the
// run; those that earlier runs have finished are not folded again.
//   exact    a bias is summed in double, its own value first, constants in input order, on one
//            rank: independent of ranks and pieces
class DeadNeurons {
 public:
  DeadNeurons(const Comm& comm, const io::NetworkReader& reader, const Pieces& pieces,
              UnitRun& run);

  // Finds what goes; every weight is read once.
  //   where    collective
  //   throws   SharedError: as io::NetworkReader; kBadData if a bias overflows; kStoppedEarly
  void find();

  // The network without it: shapes, counts and bias kinds are those of the output. After find().
  const io::Network& network() const noexcept { return output_; }
  // Sum of squares of the weights of a layer that went; its last bits depend on ranks.
  double removed_squares(std::int64_t layer) const;

  // What is left of this rank's piece, and the biases as NetworkWriter takes them.
  //   where    local
  LayerPiece read(std::int64_t layer, std::int64_t round) const;

 private:
  // A constant as the bits of its value, or -1 for a neuron that is not constant.
  using Constants = std::vector<std::int64_t>;

  void sweep_forward();
  void sweep_back();
  void count();
  struct Folded {
    kernels::CsrRows rows;
    std::vector<float> bias;   // one a row
    std::int64_t changed = 0;  // whether any bias is another one
    double removed_squares = 0;
  };
  Range items(std::int64_t layer, std::int64_t round) const;
  Folded fold_piece(std::int64_t layer, std::int64_t round, const Constants& inputs);
  void take_piece(std::int64_t layer, std::int64_t round, const Constants& inputs, Constants& mine);
  kernels::CsrRows fetch(std::int64_t layer, std::int64_t round) const;
  std::int64_t constant_of(std::int64_t layer, float bias) const;
  std::vector<float> full_bias(std::int64_t layer, Range rows) const;
  kernels::CsrRows renumbered(std::int64_t layer, kernels::CsrRows rows) const;

  const Comm& comm_;
  const io::NetworkReader& reader_;
  const Pieces& pieces_;
  UnitRun& run_;
  io::NetworkLayers layers_;
  WeightSource source_;
  std::vector<std::vector<float>> biases_;        // by piece number, one a row
  std::vector<std::int64_t> folded_;              // by layer: whether any bias changed
  std::vector<double> removed_squares_;           // by layer
  std::vector<std::vector<std::uint8_t>> stays_;  // by layer, by neuron
  std::vector<std::optional<float>> iso_;         // by layer, of the output
  io::Network output_;
};

}  // namespace espalier::jobs
