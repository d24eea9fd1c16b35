// Rows that are drawn, not read.
#include <algorithm>
#include <cmath>

#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "jobs/generate.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kRowsAtATime = 64;  // of one thread

// Calls take(column) for each place that is taken: the gaps between them are geometric.
template <typename Take>
void for_each_place(const RandomRow& row, Take take) {
  if (row.density <= 0) {
    return;
  }
  RandomStream random(row.seed, row.stream, static_cast<std::uint64_t>(row.row));
  const double scale = std::log1p(-row.density);  // -infinity for 1, which makes every gap 0
  double column = -1;
  for (;;) {
    column += 1 + std::floor(std::log(random.next_unit()) / scale);
    if (column >= static_cast<double>(row.cols)) {
      return;
    }
    take(static_cast<std::uint32_t>(column));
  }
}

// A run of rows made by one thread.
struct Run {
  std::vector<std::int64_t> ends;
  std::vector<std::uint32_t> indices;
  std::vector<float> values;
};

std::int64_t runs_in(Range range) {
  return (std::max<std::int64_t>(range.size(), 0) + kRowsAtATime - 1) / kRowsAtATime;
}

Range run_of(Range range, std::int64_t run) {
  const std::int64_t begin = range.begin + run * kRowsAtATime;
  return {begin, std::min(begin + kRowsAtATime, range.end)};
}

}  // namespace

std::int64_t RandomRow::count() const {
  std::int64_t taken = 0;
  for_each_place(*this, [&](std::uint32_t) { ++taken; });
  return taken;
}

void RandomRow::draw(std::vector<std::uint32_t>& columns) const {
  for_each_place(*this, [&](std::uint32_t column) { columns.push_back(column); });
}

kernels::CsrRows make_rows(
    Range range, std::int64_t cols, std::optional<float> iso,
    const std::function<void(std::int64_t row, std::vector<std::uint32_t>& indices,
                             std::vector<float>& values)>& fill) {
  std::vector<Run> runs(static_cast<std::size_t>(runs_in(range)));
  parallel_for(std::ssize(runs), [&](std::int64_t number, int) {
    Run& run = runs[static_cast<std::size_t>(number)];
    const Range rows = run_of(range, number);
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      fill(row, run.indices, run.values);
      run.ends.push_back(std::ssize(run.indices));
    }
  });
  kernels::CsrRows rows;
  rows.first_row = range.begin;
  rows.cols = cols;
  for (Run& run : runs) {
    const std::int64_t before = rows.nnz();
    for (const std::int64_t end : run.ends) {
      rows.pointers.push_back(before + end);
    }
    rows.indices.insert(rows.indices.end(), run.indices.begin(), run.indices.end());
    rows.values.insert(rows.values.end(), run.values.begin(), run.values.end());
    run = {};
  }
  if (iso) {
    rows.iso = true;
    rows.values = {*iso};
  }
  return rows;
}

std::int64_t count_rows(Range range, const std::function<std::int64_t(std::int64_t row)>& count) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(runs_in(range)));
  parallel_for(std::ssize(counts), [&](std::int64_t number, int) {
    const Range rows = run_of(range, number);
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      counts[static_cast<std::size_t>(number)] += count(row);
    }
  });
  std::int64_t sum = 0;
  for (const std::int64_t one : counts) {
    sum += one;
  }
  return sum;
}

}  // namespace espalier::jobs
