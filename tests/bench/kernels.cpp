// Measures spmm on one core against the machine's multiply-add peak, both in the same run.
//   bench_kernels [case...]  one line a case: median seconds, median and upper decile of the share
//                            of the peak, packing rate, right or wrong, blocks
// case=N packs blocks of N inputs, rows one after another, case:N four rows side by side, case~N
// one after another and without tiles.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <numbers>
#include <string>

#include "kernels/limits.hpp"
#include "kernels/reference.hpp"
#include "kernels/spmm.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

using testing::Floats;
using testing::Random;

constexpr int kRepeats = 21;
constexpr int kPacks = 11;

struct Setup {
  std::string name;
  std::function<CsrRows(Random&)> rows;
  std::int64_t panels;  // different ones, so that what does not fit a cache is not there by chance
  int rounds;           // over all panels in one timing
  std::function<CsrRows(Random&)> next{};  // layer of a network: rows and inputs then stand in the
                                           // order in which layers read them, as networks' do
};

// A layer of the challenge's topology: 16 rows share 32 inputs.
CsrRows challenge_rows(Random& random, std::int64_t neurons, std::int64_t distance) {
  CsrRows csr;
  csr.cols = neurons;
  for (std::int64_t row = 0; row < neurons; ++row) {
    for (std::int64_t column = 0; column < neurons; ++column) {
      const std::int64_t gap = (row - column + neurons) % 64;
      if (gap != 0 && gap != (64 - distance) % 64) continue;
      csr.indices.push_back(static_cast<std::uint32_t>(column));
      csr.values.push_back(0.0625F + 0.001F * random.symmetric());
    }
    csr.pointers.push_back(static_cast<std::int64_t>(csr.indices.size()));
  }
  return csr;
}

// Row and column counts vary log-normally (sigma 0.7), as in networks that were really pruned.
CsrRows skewed_rows(Random& random, std::int64_t rows, std::int64_t cols, double density) {
  const auto weight = [&random] {
    const double radius = std::sqrt(-2 * std::log(1 - random.unit()));
    return std::exp(0.7 * radius * std::cos(2 * std::numbers::pi * random.unit()) - 0.245);
  };
  std::vector<double> of_column(static_cast<std::size_t>(cols));
  for (double& w : of_column) w = weight();
  CsrRows csr;
  csr.cols = cols;
  for (std::int64_t row = 0; row < rows; ++row) {
    const double share = density * 1.03 * weight();
    for (std::int64_t column = 0; column < cols; ++column) {
      if (random.unit() >= share * of_column[static_cast<std::size_t>(column)]) continue;
      csr.indices.push_back(static_cast<std::uint32_t>(column));
      csr.values.push_back(random.symmetric());
    }
    csr.pointers.push_back(static_cast<std::int64_t>(csr.indices.size()));
  }
  return csr;
}

std::function<CsrRows(Random&)> unstructured(std::int64_t size, double density) {
  return [=](Random& random) { return testing::random_rows(random, size, size, density); };
}

std::vector<Setup> setups() {
  return {
      {"shared", [](Random& r) { return challenge_rows(r, 1024, 1); }, 1, 50,
       [](Random& r) { return challenge_rows(r, 1024, 2); }},
      {"strewn", [](Random& r) { return challenge_rows(r, 1024, 1); }, 1, 50},
      {"dense", unstructured(4096, 1.1), 2, 1},
      {"unstructured50", unstructured(4096, 0.5), 2, 1},
      {"unstructured70", unstructured(4096, 0.3), 2, 1},
      {"unstructured90", unstructured(4096, 0.1), 4, 1},
      {"unstructured95", unstructured(4096, 0.05), 4, 1},
      {"unstructured97", unstructured(4096, 0.03), 4, 1},
      {"skewed90", [](Random& r) { return skewed_rows(r, 4096, 4096, 0.1); }, 16, 1},
      {"unstructured99", unstructured(16384, 0.01), 2, 1},
  };
}

// Seconds that this thread has run: what else the machine does must not count.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Where a layer's inputs and rows stand.
struct Places {
  std::vector<std::uint32_t> inputs, rows;
};

// The first panel against the chain of std::fma: a fast wrong answer is worth nothing.
bool right(const CsrRows& rows, const Places& places, const Floats& in, const Floats& out) {
  CsrRows few;
  few.cols = rows.cols;
  for (std::int64_t row = 0; row < std::min<std::int64_t>(rows.rows(), 64); ++row) {
    few.pointers.push_back(rows.pointers[static_cast<std::size_t>(row) + 1]);
  }
  few.indices.assign(rows.indices.begin(), rows.indices.begin() + few.nnz());
  few.values.assign(rows.values.begin(), rows.values.begin() + few.nnz());
  for (std::uint32_t& input : few.indices) input = places.inputs[input];
  const auto sums = reference::chain(few, in.span(), kPanelWidth);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const float y = out.data()[places.rows[i / kPanelWidth] * kPanelWidth + i % kPanelWidth];
    if (y != std::min(32.0F, std::max(0.0F, sums[i] + -0.0625F))) return false;
  }
  return true;
}

void measure(const Setup& setup, const PackForm& form) {
  Random random(1);
  const CsrRows rows = setup.rows(random);
  Epilogue epilogue;
  epilogue.activation = Activation::kRelu;
  epilogue.has_clamp = true;
  epilogue.clamp = 32;
  const std::vector<float> bias = {-0.0625F};
  const auto inputs = testing::all_inputs(rows.cols);
  std::vector<double> pack_times;
  PackedLayer packed;
  for (int repeat = 0; repeat < kPacks; ++repeat) {
    const double start = thread_seconds();
    packed = pack_layer(rows, inputs, bias, epilogue, form);
    pack_times.push_back(thread_seconds() - start);
  }
  std::sort(pack_times.begin(), pack_times.end());
  Places places = {testing::all_inputs(rows.cols), testing::all_inputs(rows.rows())};
  if (setup.next) {
    const CsrRows next = setup.next(random);
    places = {packed.reading_order(),
              pack_layer(next, testing::all_inputs(next.cols), {}, {}).reading_order()};
    packed.renumber_inputs(places.inputs);
    packed.renumber_rows(places.rows);
  }
  const Floats in = testing::random_floats(random, setup.panels * rows.cols * kPanelWidth);
  Floats out(setup.panels * rows.rows() * kPanelWidth);
  std::vector<std::uint32_t> alive(kPanelWidth);
  std::vector<double> ratios, times;
  for (int repeat = 0; repeat <= kRepeats; ++repeat) {
    const double peak = measure_fma_peak();
    const double start = thread_seconds();
    for (int round = 0; round < setup.rounds; ++round) {
      for (std::int64_t p = 0; p < setup.panels; ++p) {
        spmm(packed, in.data() + p * rows.cols * kPanelWidth,
             out.data() + p * rows.rows() * kPanelWidth, 0, rows.rows(), alive.data());
      }
    }
    const double seconds = thread_seconds() - start;
    if (repeat == 0) continue;  // warms up
    times.push_back(seconds);
    ratios.push_back(static_cast<double>(rows.nnz() * kPanelWidth * setup.panels * setup.rounds) /
                     seconds / peak);
  }
  std::sort(ratios.begin(), ratios.end());
  std::sort(times.begin(), times.end());
  std::printf("%-16s %9.5f s  %5.1f %% of peak (upper %5.1f)  pack %4.0f M/s  %s  %s\n",
              setup.name.c_str(), times[kRepeats / 2], 100 * ratios[kRepeats / 2],
              100 * ratios[kRepeats * 9 / 10],
              static_cast<double>(rows.nnz()) / pack_times[kPacks / 2] * 1e-6,
              right(rows, places, in, out) ? "right" : "WRONG", packed.block_names().c_str());
  std::fflush(stdout);
}

}  // namespace
}  // namespace espalier::kernels

int main(int argc, char** argv) {
  using namespace espalier::kernels;
  std::printf("%s, %.1f G multiply-adds/s\n", target_name().c_str(), measure_fma_peak() * 1e-9);
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  for (const auto& setup : setups()) {
    if (wanted.empty()) measure(setup, {});
    for (const std::string& word : wanted) {
      const std::size_t mark = word.find_first_of("=:~");
      if (word.substr(0, mark) != setup.name) continue;
      PackForm form;
      if (mark != std::string::npos) {
        form.rows_beside = word[mark] == ':' ? kRowsBeside : 1;
        form.share = word[mark] != '~';
        form.block_inputs = std::stoll(word.substr(mark + 1));
      }
      measure(setup, form);
    }
  }
}
