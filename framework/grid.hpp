// The process grid: R row shards of every layer x C groups of samples.
#pragma once

#include <string>
#include <string_view>

#include "framework/comm.hpp"

namespace espalier {

struct GridShape {
  int row_shards = 1;     // R: ranks that together hold one copy of the network
  int sample_groups = 1;  // C: copies of the network, each working on its own samples
  friend bool operator==(const GridShape&, const GridShape&) = default;
};

// Reads "RxC". throws Error(kUsage) if it is not two positive numbers.
GridShape parse_grid(std::string_view spelled);
std::string to_string(const GridShape& shape);

// Rank r works on row shard r % R of sample group r / R.
class ProcessGrid {
 public:
  //   where    collective over `world`
  //   throws   SharedError(kUsage) if R x C differs from the number of ranks
  ProcessGrid(const Comm& world, GridShape shape);

  GridShape shape() const noexcept { return shape_; }
  int row_shard() const noexcept { return group_.rank(); }
  int sample_group() const noexcept { return sample_group_; }
  // The R ranks of this rank's sample group, by row shard.
  const Comm& group() const noexcept { return group_; }

 private:
  GridShape shape_;
  int sample_group_;
  Comm group_;
};

}  // namespace espalier
