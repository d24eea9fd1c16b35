// What can be generated: one function for each kind.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "framework/random.hpp"
#include "framework/shard.hpp"
#include "jobs/job.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Each is a whole job on the options of generate_job(). The bytes depend on the options only.
//   where    collective
//   throws   SharedError
ExitStatus generate_radixnet(Context& context);
ExitStatus generate_random(Context& context);
ExitStatus generate_lenet(Context& context);
ExitStatus generate_xmc(Context& context);
ExitStatus generate_images(Context& context);
ExitStatus generate_batch(Context& context);

// --seed; a negative one counts from 2^64 down.
std::uint64_t seed_option(const Options& options);
// --density, a number in 0..1.
double density_option(const Options& options);

// An output layer of many labels: `group` labels after each other read the same `fan_in` of the
// `hidden` neurons, each set of so many equally likely.
//   exact    a label's weights depend on the members and the label only
struct LabelLayer {
  std::int64_t labels = 0, hidden = 0, fan_in = 0, group = 1;
  std::uint64_t seed = 0;

  kernels::CsrRows rows(Range labels) const;
};

// A normal number that is not zero as float32.
float random_weight(RandomStream& random, double deviation);

// The bias of the challenge for its sizes; the line through them, -0.30 - 0.05 log4(N / 1024), for
// others.
float radixnet_bias(std::int64_t neurons);

// The places of one row of a matrix of which each is taken with probability `density`,
// independently of all others.
//   exact    depends on the arguments only
struct RandomRow {
  std::uint64_t seed;
  std::uint32_t stream;  // of the matrix
  std::int64_t row, cols;
  double density;

  std::int64_t count() const;
  // Appends the columns, ascending.
  void draw(std::vector<std::uint32_t>& columns) const;
};

// One image of thick strokes: ascending places row * width + column < neurons with width
// 2^ceil(log2(neurons) / 2). A tenth of the places is inked on average, 3 to 24 % of an image, so
// that some but not all images survive a radixnet.
//   exact    depends on the arguments only
std::vector<std::uint32_t> stroke_image(std::uint64_t seed, std::int64_t sample,
                                        std::int64_t neurons);

// Makes rows one by one on this rank's threads.
//   shapes   fill(row, indices, values) appends a row's entries; with `iso` no values
//   where    local
kernels::CsrRows make_rows(
    Range range, std::int64_t cols, std::optional<float> iso,
    const std::function<void(std::int64_t row, std::vector<std::uint32_t>& indices,
                             std::vector<float>& values)>& fill);

// Sum of count(row) over the rows, on this rank's threads.
std::int64_t count_rows(Range range, const std::function<std::int64_t(std::int64_t row)>& count);

}  // namespace espalier::jobs
