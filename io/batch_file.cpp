#include "io/batch_file.hpp"

#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/file_kind.hpp"
#include "io/sample_vectors.hpp"

namespace espalier::io {
namespace {

constexpr const char* kFeatures = "/features";
constexpr const char* kLabels = "/labels";
constexpr const char* kSampleId = "/sample_id";

}  // namespace

Batch parse_batch(const Catalog& catalog) {
  expect_kind(catalog, "batch");
  Batch batch;
  batch.features = parse_matrix(catalog, kFeatures);
  const MatrixFormat format = batch.features.format;
  if (format != MatrixFormat::kCsr && format != MatrixFormat::kDmat) {
    throw Error(ExitStatus::kBadData, text(catalog.file, ": ", kFeatures, " is ", to_string(format),
                                           "; CSR or DMAT would be right"));
  }
  batch.value_type = catalog.dataset(text(kFeatures, "/values")).type;
  batch.labels = find_labels(catalog, kLabels, batch.samples());
  batch.sample_id = find_sample_ids(catalog, kSampleId, batch.samples());
  return batch;
}

BatchReader::BatchReader(const Catalog& catalog) : batch_(parse_batch(catalog)), data_(catalog) {}

kernels::CsrRows BatchReader::read_samples(Range samples, kernels::CsrRows reuse) const {
  return read_rows(data_, batch_.features, samples, std::move(reuse));
}

std::vector<std::int64_t> BatchReader::read_labels(Range samples) const {
  expects(batch_.labels, "labels that the batch has are read");
  std::vector<std::int64_t> labels(narrow<std::size_t>(samples.size()));
  data_.read(data_.catalog().dataset(kLabels), samples.begin, labels);
  return labels;
}

std::vector<std::byte> BatchReader::read_sample_ids(Range samples) const {
  expects(batch_.sample_id.has_value(), "sample ids that the batch has are read");
  std::vector<std::byte> ids(narrow<std::size_t>(samples.size() * batch_.sample_id->bytes));
  data_.read_raw(data_.catalog().dataset(kSampleId), samples.begin, ids);
  return ids;
}

BatchWriter::BatchWriter(const Comm& comm, const std::string& path, const Batch& batch,
                         Provenance provenance, OutputOptions options)
    : batch_(batch), file_(comm, path, std::move(provenance), options) {
  locally(comm, "planning a batch", [&] {
    const MatrixFormat format = batch_.features.format;
    expects(format == MatrixFormat::kCsr || format == MatrixFormat::kDmat,
            "features are CSR or DMAT");
    batch_.features.group = kFeatures;
    features_.emplace(file_, batch_.features, batch_.value_type);
    if (batch_.labels) {
      labels_ = file_.add_dataset(kLabels, kInt64, {batch_.samples()});
    }
    if (batch_.sample_id) {
      sample_id_ = file_.add_dataset(kSampleId, *batch_.sample_id, {batch_.samples()});
    }
  });
  file_.create();
}

void BatchWriter::write_samples(const kernels::CsrRows& samples,
                                std::span<const std::int64_t> labels,
                                std::span<const std::byte> ids) {
  const Comm& comm = file_.comm();
  locally(comm, "writing samples", [&] {
    const std::int64_t id_bytes = batch_.sample_id ? batch_.sample_id->bytes : 0;
    expects(std::ssize(labels) == (batch_.labels ? samples.rows() : 0),
            "every sample has a label, if any has");
    expects(std::ssize(ids) == samples.rows() * id_bytes, "every sample has an id, if any has");
  });
  features_->write_rows(samples, written_ + comm.sum_before(samples.nnz()));
  written_ += comm.sum(samples.nnz());
  any_written_ = true;
  if (batch_.labels) {
    file_.write(labels_, samples.first_row, std::as_bytes(labels));
  }
  if (batch_.sample_id) {
    file_.write(sample_id_, samples.first_row, ids);
  }
}

void BatchWriter::finish() {
  if (!any_written_) {
    features_->write_rows(kernels::CsrRows{}, 0);
  }
  file_.finish();
}

}  // namespace espalier::io
