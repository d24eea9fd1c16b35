// A batch: features of samples, maybe labels and sample ids (source: io/FORMAT.md).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/shard.hpp"
#include "io/binsparse.hpp"
#include "io/data_file.hpp"
#include "io/matrix_rows.hpp"
#include "io/staged_file.hpp"
#include "kernels/layout.hpp"

namespace espalier::io {

struct Batch {
  MatrixInfo features;  // rows = samples; kCsr or kDmat
  ElementType value_type = kFloat32;
  bool labels = false;
  std::optional<ElementType> sample_id;  // integers or fixed-length text
  std::int64_t samples() const noexcept { return features.rows; }
};

//   where    pure
//   throws   Error(kBadData), also if the file is no batch (says what it is)
Batch parse_batch(const Catalog& catalog);

// Local, independent reads. `catalog` is borrowed.
class BatchReader {
 public:
  explicit BatchReader(const Catalog& catalog);
  const Batch& batch() const noexcept { return batch_; }
  const DataFile& data() const noexcept { return data_; }
  // `reuse` are samples that are done with: their memory is used again.
  kernels::CsrRows read_samples(Range samples, kernels::CsrRows reuse = {}) const;
  std::vector<std::int64_t> read_labels(Range samples) const;
  std::vector<std::byte> read_sample_ids(Range samples) const;  // as stored

 private:
  Batch batch_;
  DataFile data_;
};

class BatchWriter {
 public:
  // `comm` is borrowed.
  //   where    collective over `comm`
  BatchWriter(const Comm& comm, const std::string& path, const Batch& batch, Provenance provenance,
              OutputOptions options);
  // This rank's samples with their labels and ids (empty where the batch has none). A kDmat batch
  // takes sparse rows too and stores the zeros. May be called many times: the samples of a call
  // follow those of the call before, and ranks hold theirs in rank order.
  //   where    collective
  void write_samples(const kernels::CsrRows& samples, std::span<const std::int64_t> labels,
                     std::span<const std::byte> ids);
  void finish();
  std::int64_t bytes_written() const noexcept { return file_.bytes_written(); }

 private:
  Batch batch_;
  StagedFile file_;
  std::optional<MatrixWriter> features_;
  int labels_ = -1, sample_id_ = -1;
  std::int64_t written_ = 0;  // stored values of the calls so far
  bool any_written_ = false;
};

}  // namespace espalier::io
