// label: full
// Batches are read back as they were written, and their bytes are those that one process alone
// writes.
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "io/catalog.hpp"
#include "io/checksum.hpp"
#include "tests/io/written_files.hpp"

BOOST_AUTO_TEST_SUITE(io_written_batches)

using namespace espalier;
using namespace espalier::tests;
using io::MatrixFormat;

namespace {

struct BatchPlan {
  io::Batch batch;
  RowRecipe recipe;
};

std::vector<BatchPlan> batch_plans() {
  const io::ElementType letters{io::ElementClass::kText, 5};
  const auto make = [](std::int64_t samples, MatrixFormat format, RowRecipe recipe) {
    BatchPlan plan;
    plan.recipe = recipe;
    plan.batch.features = {"/features", format, samples, recipe.cols, nnz_of(recipe, samples),
                           recipe.iso};
    return plan;
  };
  std::vector<BatchPlan> plans = {make(500, MatrixFormat::kCsr, {1, 300, 0.1, false, false}),
                                  make(400, MatrixFormat::kDmat, {2, 30, 0.3, false, true}),
                                  make(300, MatrixFormat::kCsr, {3, 1000, 0.02, true, false}),
                                  make(0, MatrixFormat::kCsr, {4, 20, 0.5, false, false}),
                                  make(0, MatrixFormat::kDmat, {5, 20, 0.5, false, false}),
                                  make(1, MatrixFormat::kCsr, {6, 1, 1, false, true})};
  plans[0].batch.labels = true;
  plans[0].batch.sample_id = letters;
  plans[1].batch.value_type = io::kUint8;
  plans[1].batch.sample_id = io::ElementType{io::ElementClass::kSigned, 8, false};
  plans[3].batch.labels = true;
  plans[3].batch.sample_id = letters;
  plans[5].batch.value_type = io::kFloat64;
  return plans;
}

std::vector<std::int64_t> labels_of(Range samples) {
  std::vector<std::int64_t> labels;
  for (std::int64_t sample = samples.begin; sample < samples.end; ++sample) {
    labels.push_back(sample * sample % 10 - 3);
  }
  return labels;
}

void write_batch(const Comm& comm, const std::string& path, const BatchPlan& plan,
                 std::uint64_t seed, io::OutputOptions options = {}) {
  options.force = true;
  const io::Batch& batch = plan.batch;
  io::BatchWriter writer(comm, path, batch, provenance_of("batch"), options);
  const std::int64_t rounds = batch.samples() == 0 ? 0 : 3;
  for (std::int64_t round = 0; round < rounds; ++round) {
    const Range part = split_evenly(batch.samples(), 3, static_cast<int>(round));
    Range samples = random_share(part.size(), comm, seed + static_cast<std::uint64_t>(round));
    samples = {part.begin + samples.begin, part.begin + samples.end};
    writer.write_samples(
        rows_of(plan.recipe, samples),
        batch.labels ? labels_of(samples) : std::vector<std::int64_t>{},
        batch.sample_id ? ids_of(*batch.sample_id, samples) : std::vector<std::byte>{});
  }
  writer.finish();
}

}  // namespace

BOOST_AUTO_TEST_CASE(batches_are_read_back) {
  const Comm world(MPI_COMM_WORLD);
  const auto plans = batch_plans();
  for (std::size_t p = 0; p < plans.size(); ++p) {
    const io::Batch& batch = plans[p].batch;
    write_batch(world, "batch.h5", plans[p], p);
    write_batch(world, "batch-small.h5", plans[p], p + 1, kCompressed);
    check_digests(world, "batch.h5", "batch-small.h5");
    for (const char* path : {"batch.h5", "batch-small.h5"}) {
      const io::Catalog catalog = io::read_catalog(world, path);
      const io::BatchReader reader(catalog);
      const io::Batch& found = reader.batch();
      BOOST_TEST_CONTEXT("batch " << p << " in " << path) {
        BOOST_CHECK(found.features.format == batch.features.format);
        BOOST_CHECK_EQUAL(found.samples(), batch.samples());
        BOOST_CHECK_EQUAL(found.features.cols, batch.features.cols);
        BOOST_CHECK(found.value_type == batch.value_type);
        BOOST_CHECK_EQUAL(found.labels, batch.labels);
        BOOST_CHECK(found.sample_id == batch.sample_id);
        const Range part{batch.samples() / 4, batch.samples()};
        BOOST_CHECK(equal_rows(reader.read_samples(part), rows_of(plans[p].recipe, part)));
        if (batch.labels) {
          BOOST_CHECK(reader.read_labels(part) == labels_of(part));
        }
        if (batch.sample_id) {
          BOOST_CHECK(reader.read_sample_ids(part) == ids_of(*batch.sample_id, part));
        }
      }
    }
    world.barrier();
  }
}

BOOST_AUTO_TEST_CASE(batches_have_the_same_bytes) {
  const Comm world(MPI_COMM_WORLD);
  const auto plans = batch_plans();
  for (std::size_t p = 0; p < plans.size(); ++p) {
    const auto [shared, alone] = file_pair(text("bytes-batch", p), world);
    write_batch(Comm(MPI_COMM_SELF), alone, plans[p], 1);
    write_batch(world, shared, plans[p], p);
    BOOST_CHECK_EQUAL(io::sha256(bytes_of(shared)), io::sha256(bytes_of(alone)));
  }
}

BOOST_AUTO_TEST_CASE(rows_that_are_not_as_planned_are_our_bug) {
  const Comm world(MPI_COMM_WORLD);
  const auto outcome = [&](bool iso, io::ElementType type, auto&& spoil) {
    return error_of([&] {
      io::StagedFile file(world, "spoilt.h5", provenance_of("batch"), {});
      io::MatrixWriter writer(file, {"/m", MatrixFormat::kCsr, 6, 10, 6, iso}, type);
      file.create();
      const Range mine = split_evenly(6, world.ranks(), world.rank());
      kernels::CsrRows rows;
      rows.first_row = mine.begin;
      rows.cols = 10;
      for (std::int64_t row = mine.begin; row < mine.end; ++row) {
        rows.indices.push_back(static_cast<std::uint32_t>(row));
        rows.values.push_back(3);
        rows.pointers.push_back(row - mine.begin + 1);
      }
      std::int64_t before = mine.begin;
      spoil(rows, before);
      writer.write_rows(rows, before);
      file.finish();
    });
  };
  const bool last = world.rank() == world.ranks() - 1;
  const auto sound = [](kernels::CsrRows&, std::int64_t&) {};
  BOOST_CHECK_EQUAL(outcome(false, io::kFloat32, sound), "no error");
  const auto says = [&](bool iso, io::ElementType type, auto&& spoil, const std::string& what) {
    const std::string found = outcome(iso, type, spoil);
    BOOST_CHECK_MESSAGE(found.starts_with("70 ") && found.find(what) != std::string::npos, found);
  };
  if (world.rank() == 0) {
    std::remove("spoilt.h5");
  }
  world.barrier();
  using Rows = kernels::CsrRows;
  const auto spoil_last = [last](auto&& change) {
    return [last, change](Rows& rows, std::int64_t& before) {
      if (last) {
        change(rows, before);
      }
    };
  };
  says(false, io::kFloat32, spoil_last([](Rows& r, auto&) { r.indices.back() = 10; }), "columns");
  says(false, io::kFloat32, spoil_last([](Rows& r, auto&) { r.cols = 9; }), "6 x 10");
  says(false, io::kFloat32, spoil_last([](Rows& r, auto&) { ++r.first_row; }), "6 x 10");
  says(false, io::kFloat32, spoil_last([](Rows&, auto& b) { ++b; }), "within the 6 planned");
  says(false, io::kFloat32, spoil_last([](Rows& r, auto&) { r.values.pop_back(); }), "as many");
  says(false, io::kUint8, spoil_last([](Rows& r, auto&) { r.values.back() = 2.5F; }), "uint8");
  says(false, io::kUint8, spoil_last([](Rows& r, auto&) { r.values.back() = 256; }), "uint8");
  says(true, io::kFloat32, spoil_last([](Rows& r, auto&) {
         r.values.assign(r.values.size(), 4);
         r.values.back() = 5;
       }),
       "iso matrix");
}

BOOST_AUTO_TEST_SUITE_END()
