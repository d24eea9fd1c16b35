// label: full
// Results are read back as they were written, and their bytes are those that one process alone
// writes.
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "io/catalog.hpp"
#include "io/checksum.hpp"
#include "tests/io/written_files.hpp"

BOOST_AUTO_TEST_SUITE(io_written_results)

using namespace espalier;
using namespace espalier::tests;
using io::MatrixFormat;

namespace {

struct ResultPlan {
  io::Result result;
  RowRecipe recipe;  // of the output; a sample is alive if it has any
};

std::vector<ResultPlan> result_plans() {
  const auto make = [](std::int64_t samples, std::int64_t top_k, bool output) {
    ResultPlan plan;
    plan.recipe = {11, 40, 0.2, false, false};
    plan.result.samples = samples;
    const auto rows = rows_of(plan.recipe, {0, samples});
    for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
      plan.result.categories += rows.pointers[row] < rows.pointers[row + 1] ? 1 : 0;
    }
    plan.result.top_k = top_k;
    if (output) {
      plan.result.output = {"/output", MatrixFormat::kCsr, samples, 40, rows.nnz(), false};
    }
    return plan;
  };
  std::vector<ResultPlan> plans = {make(700, 3, true), make(50, 0, false), make(0, 2, true),
                                   make(1, 1, false)};
  plans[0].result.sample_id = io::ElementType{io::ElementClass::kText, 12};
  plans[2].result.sample_id = io::kInt64;
  return plans;
}

template <typename T>
std::vector<T> top_of(Range samples, std::int64_t top_k) {
  std::vector<T> top;
  for (std::int64_t i = samples.begin * top_k; i < samples.end * top_k; ++i) {
    top.push_back(static_cast<T>(i % 1000));
  }
  return top;
}

std::vector<std::uint8_t> alive_of(const ResultPlan& plan, Range samples) {
  const auto rows = rows_of(plan.recipe, samples);
  std::vector<std::uint8_t> alive;
  for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
    alive.push_back(rows.pointers[row] < rows.pointers[row + 1] ? 1 : 0);
  }
  return alive;
}

void write_result(const Comm& comm, const std::string& path, const ResultPlan& plan,
                  std::uint64_t seed, io::OutputOptions options = {}) {
  options.force = true;
  const io::Result& result = plan.result;
  io::ResultWriter writer(comm, path, result, provenance_of("result"), options);
  const Range mine = random_share(result.samples, comm, seed);
  writer.write_alive(mine.begin, alive_of(plan, mine));
  if (result.sample_id) {
    const Range other = random_share(result.samples, comm, seed + 1);
    writer.write_sample_ids(other.begin, ids_of(*result.sample_id, other));
  }
  // In pieces, as many calls as the rank with most of them.
  const std::int64_t pieces = comm.max(mine.size() / 50 + 1);
  for (std::int64_t piece = 0; piece < pieces && result.samples > 0; ++piece) {
    const Range samples{std::min(mine.begin + 50 * piece, mine.end),
                        std::min(mine.begin + 50 * piece + 50, mine.end)};
    if (result.top_k > 0) {
      writer.write_top(samples.begin, top_of<std::int64_t>(samples, result.top_k),
                       top_of<float>(samples, result.top_k));
    }
    if (result.output) {
      writer.write_output(rows_of(plan.recipe, samples), nnz_of(plan.recipe, samples.begin));
    }
  }
  writer.finish();
}

}  // namespace

BOOST_AUTO_TEST_CASE(results_are_read_back_and_have_the_same_bytes) {
  const Comm world(MPI_COMM_WORLD);
  const auto plans = result_plans();
  for (std::size_t p = 0; p < plans.size(); ++p) {
    const io::Result& result = plans[p].result;
    const Range all{0, result.samples};
    const auto [shared, alone] = file_pair(text("result", p), world);
    write_result(Comm(MPI_COMM_SELF), alone, plans[p], 1);
    write_result(world, shared, plans[p], p);
    BOOST_CHECK_EQUAL(io::sha256(bytes_of(shared)), io::sha256(bytes_of(alone)));
    write_result(world, "small.h5", plans[p], p + 3, kCompressed);
    check_digests(world, shared, "small.h5");
    const io::Catalog catalog = io::read_catalog(world, "small.h5");
    const io::Result found = io::parse_result(catalog);
    const io::DataFile data(catalog);
    BOOST_TEST_CONTEXT("result " << p) {
      BOOST_CHECK_EQUAL(found.samples, result.samples);
      BOOST_CHECK_EQUAL(found.categories, result.categories);
      BOOST_CHECK_EQUAL(found.top_k, result.top_k);
      BOOST_CHECK_EQUAL(found.output.has_value(), result.output.has_value());
      BOOST_CHECK(found.sample_id == result.sample_id);
      const auto alive = alive_of(plans[p], all);
      std::vector<std::uint32_t> read_alive(alive.size());
      data.read(catalog.dataset("/alive"), 0, read_alive);
      BOOST_CHECK(std::equal(alive.begin(), alive.end(), read_alive.begin()));
      std::vector<std::int64_t> expected;
      for (std::size_t i = 0; i < alive.size(); ++i) {
        if (alive[i] != 0) {
          expected.push_back(static_cast<std::int64_t>(i));
        }
      }
      std::vector<std::int64_t> categories(static_cast<std::size_t>(found.categories));
      data.read(catalog.dataset("/categories"), 0, categories);
      BOOST_CHECK(categories == expected);
      if (result.top_k > 0) {
        std::vector<std::int64_t> index(static_cast<std::size_t>(result.samples * result.top_k));
        std::vector<float> value(index.size());
        data.read(catalog.dataset("/top_index"), 0, index);
        data.read(catalog.dataset("/top_value"), 0, value);
        BOOST_CHECK(index == top_of<std::int64_t>(all, result.top_k));
        BOOST_CHECK(value == top_of<float>(all, result.top_k));
      }
      if (result.output) {
        BOOST_CHECK(
            equal_rows(io::read_rows(data, *found.output, all), rows_of(plans[p].recipe, all)));
      }
    }
    world.barrier();
  }
}

BOOST_AUTO_TEST_SUITE_END()
