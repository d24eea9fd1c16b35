// Single layers that `espalier bench` measures the kernel on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/layout.hpp"

namespace espalier::jobs {

// A layer and how many samples go through it in one timing.
struct BenchLayer {
  std::string name;
  std::function<kernels::CsrRows()> make;
  std::int64_t panels;  // different ones, so that what does not fit a cache is not there by chance
  std::int64_t rounds;  // panels of one timing, one after another
  // The layer that follows in a network: what lies before and after this one then stands as
  // number_boundaries puts it. None: in the order of neurons.
  std::function<kernels::CsrRows()> next{};
};

// `shared`, `dense`, `unstructured50` … `unstructured99`, `skewed90`, in the order of the table.
std::vector<BenchLayer> bench_layers();

// Row and column counts vary log-normally (sigma 0.7), as in networks that were really pruned.
kernels::CsrRows skewed_rows(std::uint64_t seed, std::int64_t rows, std::int64_t cols,
                             double density);

// One figure of the benchmark.
struct BenchFigure {
  std::string name;
  double seconds = 0;     // median of one timing
  double per_second = 0;  // multiply-adds, or weights for `pack`
  double limit = 0;       // the same at best, on the threads used
  double ratio = 0;       // median of per_second / limit, both measured next to each other
  int threads = 1;
  std::string blocks;  // the forms the weights were packed into
  bool counts_weights = false;
  // Median of per_second / what one core reaches where each multiply-add loads an activation, for
  // rows that share no inputs; else 0.
  double ratio_to_loads = 0;
};

// Multiplies on one thread.
BenchFigure measure_layer(const BenchLayer& layer);
// All panels on one thread and on all of them in turns, by the clock on the wall; the ratio is how
// many times as fast all are.
BenchFigure measure_threads(const BenchLayer& layer);
// The layer rounded to bfloat16 beside itself in float32, whose rate is the limit; how far the
// results are apart stands beside the blocks.
BenchFigure measure_bfloat16(const BenchLayer& layer);
// Packs the layer of `layer` on one thread; `bytes_per_second` of memory is what limits it.
BenchFigure measure_packing(const BenchLayer& layer, double bytes_per_second);

// Multiply-adds a second of `threads` threads at once.
double measure_peak(int threads);

}  // namespace espalier::jobs
