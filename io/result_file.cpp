#include "io/result_file.hpp"

#include <algorithm>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/file_kind.hpp"
#include "io/sample_vectors.hpp"

namespace espalier::io {
namespace {

constexpr const char* kCategories = "/categories";
constexpr const char* kAlive = "/alive";
constexpr const char* kTopIndex = "/top_index";
constexpr const char* kTopValue = "/top_value";
constexpr const char* kOutput = "/output";
constexpr const char* kSampleId = "/sample_id";

// How many outputs a sample has in /top_index and /top_value, 0 if they are not there.
std::int64_t find_top(const Catalog& catalog, std::int64_t samples) {
  const bool index = catalog.objects.contains(kTopIndex);
  if (index != catalog.objects.contains(kTopValue)) {
    throw Error(ExitStatus::kBadData,
                text(catalog.file, ": there is ", index ? kTopIndex : kTopValue, " without ",
                     index ? kTopValue : kTopIndex));
  }
  if (!index) {
    return 0;
  }
  const auto& shape = catalog.dataset(kTopIndex).shape;
  const std::int64_t top_k = shape.size() == 2 ? shape[1] : 1;
  expect_integers(catalog, kTopIndex, {samples, top_k});
  const Dataset& value = catalog.dataset(kTopValue);
  if (value.type.kind != ElementClass::kFloat || value.shape != shape || top_k < 1) {
    throw Error(ExitStatus::kBadData,
                text(catalog.file, ": ", kTopValue, " is ", to_string(value.type), " of shape ",
                     nlohmann::json(value.shape).dump(), " next to a ", kTopIndex, " of shape ",
                     nlohmann::json(shape).dump(), "; float32 of the same shape would be right"));
  }
  return top_k;
}

// The key `part` of the options that the file says it was made with: [first, end, of].
std::optional<ResultPart> find_part(const Catalog& catalog, std::int64_t samples) {
  const nlohmann::json origin = origin_of(catalog);
  const auto options = origin.is_object() ? origin.value("options", nlohmann::json()) : origin;
  if (!options.is_object() || !options.contains("part")) {
    return std::nullopt;
  }
  const nlohmann::json& spelled = options["part"];
  const auto integer = [](const nlohmann::json& one) { return one.is_number_integer(); };
  if (spelled.is_array() && spelled.size() == 3 &&
      std::all_of(spelled.begin(), spelled.end(), integer)) {
    const ResultPart part{{spelled[0], spelled[1]}, spelled[2]};
    if (0 <= part.samples.begin && part.samples.begin <= part.samples.end &&
        part.samples.end <= part.of && part.samples.size() == samples) {
      return part;
    }
  }
  throw Error(ExitStatus::kBadData,
              text(catalog.file, ": says that it is part ", spelled.dump(), " but has ", samples,
                   " samples; [first, end, samples of the batch] would be right"));
}

}  // namespace

Result parse_result(const Catalog& catalog) {
  expect_kind(catalog, "result");
  Result result;
  const auto length = [&](const char* path) {
    const auto& shape = catalog.dataset(path).shape;
    return shape.size() == 1 ? shape[0] : 0;
  };
  result.samples = length(kAlive);
  result.categories = length(kCategories);
  expect_integers(catalog, kAlive, {result.samples});
  expect_integers(catalog, kCategories, {result.categories});
  if (result.categories > result.samples) {
    throw Error(ExitStatus::kBadData, text(catalog.file, ": ", kCategories, " lists ",
                                           result.categories, " of ", result.samples, " samples"));
  }
  result.part = find_part(catalog, result.samples);
  result.top_k = find_top(catalog, result.samples);
  result.sample_id = find_sample_ids(catalog, kSampleId, result.samples);
  if (catalog.objects.contains(kOutput)) {
    result.output = parse_matrix(catalog, kOutput);
    if (result.output->format != MatrixFormat::kCsr || result.output->rows != result.samples) {
      throw Error(ExitStatus::kBadData,
                  text(catalog.file, ": ", kOutput, " is ", to_string(result.output->format),
                       " with ", result.output->rows, " rows; CSR with one row for each of the ",
                       result.samples, " samples would be right"));
    }
  }
  return result;
}

ResultWriter::ResultWriter(const Comm& comm, const std::string& path, const Result& result,
                           Provenance provenance, OutputOptions options)
    : result_(result), file_(comm, path, std::move(provenance), options) {
  locally(comm, "planning a result", [&] {
    const std::int64_t samples = result_.samples;
    categories_ = file_.add_dataset(kCategories, kInt64, {result_.categories});
    alive_ = file_.add_dataset(kAlive, kUint8, {samples});
    if (result_.top_k > 0) {
      top_index_ = file_.add_dataset(kTopIndex, kInt64, {samples, result_.top_k});
      top_value_ = file_.add_dataset(kTopValue, kFloat32, {samples, result_.top_k});
    }
    if (result_.sample_id) {
      sample_id_ = file_.add_dataset(kSampleId, *result_.sample_id, {samples});
    }
    if (result_.output) {
      expects(result_.output->format == MatrixFormat::kCsr && result_.output->rows == samples,
              "an output is CSR and has a row a sample");
      result_.output->group = kOutput;
      output_.emplace(file_, *result_.output);
    }
  });
  file_.create();
}

void ResultWriter::write_alive(std::int64_t first_sample, std::span<const std::uint8_t> alive) {
  const Comm& comm = file_.comm();
  const auto categories = locally(comm, "collecting categories", [&] {
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; i < alive.size(); ++i) {
      if (alive[i] != 0) {
        ids.push_back(first_sample + static_cast<std::int64_t>(i));
      }
    }
    return ids;
  });
  const std::int64_t before = comm.sum_before(std::ssize(categories));
  file_.write(alive_, first_sample, std::as_bytes(alive));
  file_.write(categories_, before, std::as_bytes(std::span(categories)));
}

void ResultWriter::write_top(std::int64_t first_sample, std::span<const std::int64_t> index,
                             std::span<const float> value) {
  locally(file_.comm(), "writing the largest outputs", [&] {
    expects(result_.top_k > 0 && index.size() == value.size(),
            "planned top outputs are written, index and value of each");
  });
  file_.write(top_index_, first_sample * result_.top_k, std::as_bytes(index));
  file_.write(top_value_, first_sample * result_.top_k, std::as_bytes(value));
}

void ResultWriter::write_output(const kernels::CsrRows& rows, std::int64_t nnz_before) {
  locally(file_.comm(), "writing outputs",
          [&] { expects(output_.has_value(), "a planned output is written"); });
  output_->write_rows(rows, nnz_before);
  output_written_ = true;
}

void ResultWriter::write_sample_ids(std::int64_t first_sample, std::span<const std::byte> ids) {
  locally(file_.comm(), "writing sample ids",
          [&] { expects(result_.sample_id.has_value(), "planned sample ids are written"); });
  file_.write(sample_id_, first_sample, ids);
}

void ResultWriter::finish() {
  if (output_ && !output_written_) {
    output_->write_rows(kernels::CsrRows{}, 0);
  }
  file_.finish();
}

}  // namespace espalier::io
