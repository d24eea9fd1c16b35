// Samples on their way through a network that is being pruned: what each layer's inputs are like.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "framework/comm.hpp"
#include "io/batch_file.hpp"
#include "io/network_file.hpp"
#include "jobs/layer_walk.hpp"
#include "jobs/matrix_totals.hpp"

namespace espalier::jobs {

// The inputs of one layer over all samples, one value an input; the same on every rank.
struct InputStats {
  std::vector<double> mean, norm, deviation;  // E[x], the root of the sum of x^2, of E[(x - E x)^2]
};

// Samples are dealt to ranks, layers are carried out one after the other with weights as they are
// after pruning. Borrows everything.
//   exact    independent of ranks and threads: sums over samples are exact or taken in their order
class Calibration {
 public:
  // `pause` is called within `locally` now and then; it may throw to end the work. restart() comes
  // before anything else.
  //   where    collective
  //   throws   SharedError(kBadData) if the network is no chain, the batch has another number of
  //            features or no samples
  Calibration(const Comm& comm, const io::NetworkReader& reader, const io::BatchReader& batch,
              std::function<void()> pause);

  // What a rank holds beside the weights, at most.
  static std::int64_t bytes(const io::Network& network, std::int64_t samples, int ranks);

  // To the inputs of the first layer: reads this rank's samples.
  //   where    collective
  void restart();

  InputStats exchange_stats() const;  // collective
  // Sums over samples of x x^T, n x n.
  //   where    collective
  //   cost     n^2 / 2 multiply-adds for each sample, shared by the ranks
  std::vector<double> exchange_gram() const;

  // Carries the samples through a layer. `piece(round)`: this rank's rows of it with their biases,
  // as NetworkWriter takes them; local.
  //   where    collective
  //   cost     every rank gets every weight, piece by piece
  //   throws   SharedError(kBadData) if an output is not finite
  void exchange_layer(std::int64_t layer, std::int64_t rounds,
                      const std::function<LayerPiece(std::int64_t round)>& piece);

 private:
  std::vector<double> exchange_sums_of(const std::function<bool(float)>& counts,
                                       bool squares) const;
  Range samples_of(int rank) const;
  LayerPiece exchange_piece(const LayerPiece& mine, int root) const;
  void multiply(const LayerPiece& piece, Panels& sums, std::vector<float>& bias) const;

  const Comm& comm_;
  const io::NetworkReader& reader_;
  const io::BatchReader& batch_;
  std::function<void()> pause_;
  LayerWalk walk_;
  std::int64_t samples_;
  Panels inputs_;  // of the next layer
};

}  // namespace espalier::jobs
