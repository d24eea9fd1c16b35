#include "jobs/bench_layers.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <iomanip>
#include <numeric>
#include <sstream>

#include "framework/error.hpp"
#include "framework/memory.hpp"
#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "framework/timer.hpp"
#include "jobs/generate.hpp"
#include "jobs/radixnet.hpp"
#include "kernels/bfloat16.hpp"
#include "kernels/limits.hpp"
#include "kernels/pack.hpp"
#include "kernels/reference.hpp"
#include "kernels/spmm.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

constexpr std::int64_t kWidth = kernels::kPanelWidth;
constexpr int kTimings = 9;
constexpr int kShortTimings = 41;  // of one panel
constexpr float kBias = -0.0625F, kClamp = 32;

std::size_t to_size(std::int64_t value) { return static_cast<std::size_t>(value); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

CsrRows unstructured(std::int64_t size, double density) {
  return make_rows({0, size}, size, std::nullopt,
                   [=](std::int64_t row, auto& indices, auto& values) {
                     RandomRow{1, 0, row, size, density}.draw(indices);
                     RandomStream random(1, 1, static_cast<std::uint64_t>(row));
                     while (values.size() < indices.size()) {
                       values.push_back(static_cast<float>(random.next_unit() - 0.5));
                     }
                   });
}

// The challenge's topology with weights that differ, so that nothing can be gained from equal ones.
CsrRows shared_pattern(std::int64_t layer) {
  CsrRows rows = RadixNet(1024, 1).rows(layer, {0, 1024});
  rows.iso = false;
  rows.values.clear();
  RandomStream random(1, 1, 0);
  while (std::ssize(rows.values) < rows.nnz()) {
    rows.values.push_back(static_cast<float>(0.0625 + 0.001 * random.next_unit()));
  }
  return rows;
}

std::vector<std::uint32_t> all_inputs(std::int64_t cols) {
  std::vector<std::uint32_t> inputs(to_size(cols));
  std::iota(inputs.begin(), inputs.end(), 0U);
  return inputs;
}

// Seconds that this thread has run: waiting for a core that others use must not count.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

kernels::PackedLayer pack(const CsrRows& rows, std::span<const std::uint32_t> inputs,
                          const kernels::PackForm& form = {}) {
  kernels::Epilogue epilogue;
  epilogue.activation = kernels::Activation::kRelu;
  epilogue.has_clamp = true;
  epilogue.clamp = kClamp;
  return kernels::pack_layer(rows, inputs, std::span(&kBias, 1), epilogue, form);
}

// Where a layer's inputs and rows stand.
struct Places {
  std::vector<std::uint32_t> inputs, rows;
};

Places places_in_network(const BenchLayer& layer, const CsrRows& rows,
                         kernels::PackedLayer& packed) {
  Places places = {all_inputs(rows.cols), all_inputs(rows.rows())};
  if (!layer.next) return places;
  const CsrRows next = layer.next();
  places = {packed.reading_order(), pack(next, all_inputs(next.cols)).reading_order()};
  packed.renumber_inputs(places.inputs);
  packed.renumber_rows(places.rows);
  return places;
}

// A fast wrong answer is worth nothing: the first rows of a panel against the plain chain.
void check(const CsrRows& rows, const Places& places, std::span<const float> in,
           std::span<const float> out) {
  CsrRows few;
  few.cols = rows.cols;
  few.pointers.assign(rows.pointers.begin(),
                      rows.pointers.begin() + std::min<std::int64_t>(rows.rows(), 64) + 1);
  few.indices.assign(rows.indices.begin(), rows.indices.begin() + few.nnz());
  few.values.assign(rows.values.begin(), rows.values.begin() + few.nnz());
  for (std::uint32_t& input : few.indices) input = places.inputs[input];
  const std::vector<float> sums = kernels::reference::chain(few, in, kWidth);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const float right = std::clamp(sums[i] + kBias, 0.0F, kClamp);
    const float found =
        out[places.rows[i / to_size(kWidth)] * to_size(kWidth) + i % to_size(kWidth)];
    expects(std::abs(found - right) <= 1e-4F * (1 + std::abs(right)),
            "the kernel and the plain chain give the same");
  }
}

}  // namespace

CsrRows skewed_rows(std::uint64_t seed, std::int64_t rows, std::int64_t cols, double density) {
  constexpr double kSigma = 0.7;
  const auto weight = [](RandomStream& random) {
    return std::exp(kSigma * random.next_normal() - kSigma * kSigma / 2);
  };
  RandomStream of_columns(seed, 2, 0);
  std::vector<double> shares(to_size(cols));
  std::generate(shares.begin(), shares.end(), [&] { return weight(of_columns); });
  return make_rows({0, rows}, cols, std::nullopt,
                   [&](std::int64_t row, auto& indices, auto& values) {
                     RandomStream random(seed, 3, static_cast<std::uint64_t>(row));
                     const double share = density * weight(random);
                     for (std::int64_t column = 0; column < cols; ++column) {
                       if (random.next_unit() <= share * shares[to_size(column)]) {
                         indices.push_back(static_cast<std::uint32_t>(column));
                         values.push_back(static_cast<float>(random.next_unit() - 0.5));
                       }
                     }
                   });
}

std::vector<BenchLayer> bench_layers() {
  const auto random = [](std::int64_t size, double density) {
    return [=] { return unstructured(size, density); };
  };
  return {{"shared", [] { return shared_pattern(1); }, 1, 64, [] { return shared_pattern(2); }},
          {"dense", random(4096, 1.0), 8, 1},
          {"unstructured50", random(4096, 0.50), 64, 8},
          {"unstructured70", random(4096, 0.30), 64, 8},
          {"unstructured90", random(4096, 0.10), 64, 8},
          {"unstructured95", random(4096, 0.05), 64, 8},
          {"unstructured97", random(4096, 0.03), 64, 8},
          {"skewed90", [] { return skewed_rows(1, 4096, 4096, 0.10); }, 64, 8},
          {"unstructured99", random(16384, 0.01), 16, 4}};
}

double measure_peak(int threads) {
  std::vector<double> rates(to_size(threads));
  parallel_for(threads,
               [&](std::int64_t item, int) { rates[to_size(item)] = kernels::measure_fma_peak(); });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

namespace {

// Panels of a layer's inputs and outputs.
struct Panels {
  Panels(const CsrRows& rows, std::int64_t count)
      : in_floats(rows.cols * kWidth),
        out_floats(rows.rows() * kWidth),
        in(to_size(count * in_floats)),
        out(to_size(count * out_floats)) {
    RandomStream random(1, 4, 0);
    std::generate(in.span().begin(), in.span().end(),
                  [&] { return static_cast<float>(random.next_unit()); });
    std::fill_n(out.data(), out.size(), 0.0F);
  }

  void run(const kernels::PackedLayer& layer, std::int64_t panel) {
    std::uint32_t alive[kernels::kPanelWidth] = {};
    kernels::spmm(layer, in.data() + panel * in_floats, out.data() + panel * out_floats, 0,
                  layer.rows(), alive);
  }

  std::int64_t in_floats, out_floats;
  AlignedBuffer<float> in, out;
};

}  // namespace

BenchFigure measure_layer(const BenchLayer& layer) {
  const CsrRows rows = layer.make();
  kernels::PackedLayer packed = pack(rows, all_inputs(rows.cols));
  const Places places = places_in_network(layer, rows, packed);
  Panels panels(rows, layer.panels);
  const bool loads = 2 * packed.blocked().weights > packed.nnz();
  const std::span<const float> near = panels.in.span().first(
      std::min(panels.in.size(), to_size(cache_bytes(1)) / 2 / sizeof(float)));
  std::vector<double> seconds, ratios, ratios_to_loads;
  const double edges = static_cast<double>(packed.nnz() * kWidth * layer.rounds);
  double limit = 0;
  // Timed some panels at a time, by the thread's own clock and next to the peak, so that what else
  // the machine does falls on both.
  for (int timing = 0; timing <= kShortTimings; ++timing) {
    limit = measure_peak(1);
    const double loading_peak = loads ? kernels::measure_loading_fma_peak(near) : 0;
    const double start = thread_seconds();
    for (std::int64_t round = 0; round < layer.rounds; ++round) {
      panels.run(packed, (timing * layer.rounds + round) % layer.panels);
    }
    if (timing > 0) {  // the first one warms up
      seconds.push_back(thread_seconds() - start);
      ratios.push_back(edges / seconds.back() / limit);
      if (loads) ratios_to_loads.push_back(edges / seconds.back() / loading_peak);
    }
  }
  check(rows, places, panels.in.span(), panels.out.span());
  const double middle = median(seconds);
  return {layer.name,
          middle,
          edges / middle,
          limit,
          median(ratios),
          1,
          packed.block_names(),
          false,
          loads ? median(ratios_to_loads) : 0};
}

BenchFigure measure_threads(const BenchLayer& layer) {
  const CsrRows rows = layer.make();
  const kernels::PackedLayer packed = pack(rows, all_inputs(rows.cols));
  Panels panels(rows, layer.panels);
  const auto one = [&](std::int64_t panel, int) { panels.run(packed, panel); };
  std::vector<double> seconds, seconds_of_one, ratios;
  for (int timing = 0; timing <= kTimings; ++timing) {
    const double start = now_seconds();
    for (std::int64_t panel = 0; panel < layer.panels; ++panel) one(panel, 0);
    const double middle = now_seconds();
    parallel_for(layer.panels, one);
    const double end = now_seconds();
    if (timing > 0) {
      seconds_of_one.push_back(middle - start);
      seconds.push_back(end - middle);
      ratios.push_back(seconds_of_one.back() / seconds.back());
    }
  }
  const auto edges = static_cast<double>(packed.nnz() * kWidth * layer.panels);
  return {"threads",
          median(seconds),
          edges / median(seconds),
          edges / median(seconds_of_one) * threads(),
          median(ratios),
          threads(),
          packed.block_names(),
          false};
}

BenchFigure measure_bfloat16(const BenchLayer& layer) {
  const CsrRows rows = layer.make();
  kernels::PackForm form;
  form.round_weights = form.round_outputs = true;
  const auto inputs = all_inputs(rows.cols);
  const kernels::PackedLayer plain = pack(rows, inputs), rounded = pack(rows, inputs, form);
  Panels of_plain(rows, layer.rounds), of_rounded(rows, layer.rounds);
  kernels::round_to_bfloat16(of_rounded.in.span());
  std::vector<double> seconds, ratios;
  const double edges = static_cast<double>(plain.nnz() * kWidth * layer.rounds);
  double limit = 0;
  for (int timing = 0; timing <= kShortTimings; ++timing) {
    const double start = thread_seconds();
    for (std::int64_t panel = 0; panel < layer.rounds; ++panel) of_plain.run(plain, panel);
    const double middle = thread_seconds();
    for (std::int64_t panel = 0; panel < layer.rounds; ++panel) of_rounded.run(rounded, panel);
    const double end = thread_seconds();
    if (timing > 0) {
      limit = edges / (middle - start);
      seconds.push_back(end - middle);
      ratios.push_back((middle - start) / (end - middle));
    }
  }
  double worst = 0, squares = 0;
  for (std::size_t i = 0; i < of_plain.out.size(); ++i) {
    const auto exact = static_cast<double>(of_plain.out.data()[i]);
    worst = std::max(worst, std::abs(exact - static_cast<double>(of_rounded.out.data()[i])));
    squares += exact * exact / static_cast<double>(of_plain.out.size());
  }
  const double middle = median(seconds);
  std::ostringstream note;
  note << rounded.block_names()
       << (rounded.blocked().shorts.empty() ? ", rounded in float32"
                                            : ", two weights an instruction")
       << ", off by at most " << std::setprecision(2) << worst / std::sqrt(squares)
       << " of the outputs' RMS";
  return {"", middle, edges / middle, limit, median(ratios), 1, note.str(), false};
}

BenchFigure measure_packing(const BenchLayer& layer, double bytes_per_second) {
  const CsrRows rows = layer.make();
  const auto inputs = all_inputs(rows.cols);
  std::vector<double> seconds;
  std::string blocks;
  for (int timing = 0; timing <= kTimings; ++timing) {
    const double start = thread_seconds();
    const kernels::PackedLayer packed = pack(rows, inputs);
    if (timing > 0) {
      seconds.push_back(thread_seconds() - start);
    }
    blocks = packed.block_names();
  }
  // A weight comes as 8 bytes and leaves as 6.
  constexpr double kBytesPerWeight = 14;
  const double limit = bytes_per_second / kBytesPerWeight;
  const double middle = median(seconds);
  const double rate = static_cast<double>(rows.nnz()) / middle;
  return {"pack", middle, rate, limit, rate / limit, 1, blocks, true};
}

}  // namespace espalier::jobs
