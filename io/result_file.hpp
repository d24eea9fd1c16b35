// Results of an inference (source: io/FORMAT.md).
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

// Which samples of a batch of `of` a part of a result holds.
struct ResultPart {
  Range samples;
  std::int64_t of = 0;
};

struct Result {
  std::int64_t samples = 0;
  std::optional<ResultPart> part;    // nothing: all samples of the batch
  std::int64_t categories = 0;       // samples with a non-zero output
  std::int64_t top_k = 0;            // 0: no /top_index and /top_value
  std::optional<MatrixInfo> output;  // CSR, samples x outputs
  std::optional<ElementType> sample_id;
};

//   where    pure
//   throws   Error(kBadData), also if the file is no result (says what it is)
Result parse_result(const Catalog& catalog);

// Writes one result. write_alive is called once, ranks holding contiguous samples in rank order or
// none; it writes /categories too. The others may be called many times (samples ascending on a
// rank), a rank without anything to write passing empty spans.
class ResultWriter {
 public:
  // `comm` is borrowed.
  //   where    collective over `comm`
  ResultWriter(const Comm& comm, const std::string& path, const Result& result,
               Provenance provenance, OutputOptions options);

  // Everything of this rank's samples [first_sample, first_sample + alive.size()); collective.
  void write_alive(std::int64_t first_sample, std::span<const std::uint8_t> alive);
  // samples x top_k each, row-major.
  void write_top(std::int64_t first_sample, std::span<const std::int64_t> index,
                 std::span<const float> value);
  void write_output(const kernels::CsrRows& rows, std::int64_t nnz_before);
  void write_sample_ids(std::int64_t first_sample, std::span<const std::byte> ids);
  void finish();
  std::int64_t bytes_written() const noexcept { return file_.bytes_written(); }

 private:
  Result result_;
  StagedFile file_;
  int categories_ = -1, alive_ = -1, top_index_ = -1, top_value_ = -1, sample_id_ = -1;
  std::optional<MatrixWriter> output_;
  bool output_written_ = false;
};

}  // namespace espalier::io
