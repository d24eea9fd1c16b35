// Whole networks that `espalier bench` runs: features in memory to categories.
#pragma once

#include <cstdint>

#include "jobs/bench_layers.hpp"
#include "jobs/job.hpp"

namespace espalier::jobs {

// Times the network and batch of the options --network and --batch, or, without them, a radixnet
// of 1024 x 120 and 60,000 drawn images, on all threads: `gc1024x120` with all samples and
// `gc1024x120-first1200` with the first of them. `per_second` counts nominal edges.
//   where    collective over the world of `context`, which has one rank
//   throws   SharedError
std::vector<BenchFigure> measure_networks(Context& context, const std::vector<std::string>& names);

// Times 256 samples through an output layer of 262,144 labels on 1,024 neurons to the best five of
// each sample, on all threads: `xmc` (16 labels share their 32 inputs) or `xmc-unshared`.
BenchFigure measure_labels(Context& context, const std::string& name);

}  // namespace espalier::jobs
