// GraphChallenge TSV: `i<TAB>j<TAB>x` lines, 1-based, in any order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "framework/shard.hpp"
#include "io/triplet_lines.hpp"
#include "kernels/layout.hpp"

namespace espalier::io {

// The challenge's bias for its four sizes: 1024 -0.30, 4096 -0.35, 16384 -0.40, 65536 -0.45.
std::optional<float> challenge_bias(std::int64_t neurons);
inline constexpr float kChallengeClamp = 32;

// "DIR/n1024-l7.tsv"; DIR may also be the folder above ("DIR/neuron1024/n1024-l7.tsv").
std::string challenge_layer_file(const std::string& folder, std::int64_t neurons,
                                 std::int64_t layer);

// Reads one layer: a line `i j x` is the weight from input i to output j. Ranks parse byte ranges,
// exchange by owner, and return their own rows (outputs), evenly split; explicit zeros are kept
// out; iso is set if all values of the rank's rows are equal.
//   where    collective over `comm`
//   throws   SharedError: kNoInput; kBadData naming file and line, what was found and what would
//            be right: a truncated line, a word for a number, an index outside 1..neurons, a value
//            that is not finite, the same (i, j) twice (both lines)
//   cost     one pass over the bytes; about 40 bytes a weight of memory, spread over ranks
kernels::CsrRows read_challenge_layer(const Comm& comm, const std::string& file,
                                      std::int64_t neurons);

// Reads features: a line `i j x` is the value of feature j in sample i. Returns this rank's
// samples, split evenly; `samples` defaults to the largest sample number found. `pieces`: how the
// text is parsed.
struct ChallengeFeatures {
  std::int64_t samples = 0;  // of all ranks
  kernels::CsrRows rows;
};
ChallengeFeatures read_challenge_features(const Comm& comm, const std::string& file,
                                          std::int64_t neurons, std::optional<std::int64_t> samples,
                                          const TripletPieces& pieces = {});

// Reads categories: 1-based sample ids, one a line, in any order; returns them 0-based, ascending.
//   where    collective over `comm`: rank 0 reads and broadcasts
//   throws   SharedError as above; an id above `samples` is refused
std::vector<std::int64_t> read_challenge_truth(const Comm& comm, const std::string& file,
                                               std::int64_t samples);

}  // namespace espalier::io
