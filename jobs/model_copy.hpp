// From one model to another: what is copied, what is spread, and the digest of what is read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/model_layers.hpp"
#include "io/model_output.hpp"
#include "jobs/job.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// The bytes of a model as they are read, for its digest.
class ModelDigest {
 public:
  explicit ModelDigest(const io::Model& model) : model_(model) {}
  // Takes note of bytes that are read for the first time. Local, one thread at a time.
  void note(std::size_t file, std::int64_t position, std::int64_t bytes, std::uint32_t crc);
  // What io::digest_files says of all files of the model, once every byte of data has been noted.
  //   where    collective over `comm`
  std::string digest(const Comm& comm) const;

 private:
  struct Part {
    std::int64_t file, position, bytes, crc;
  };
  const io::Model& model_;
  std::vector<Part> parts_;
};

// Bytes [begin, end) of a file of a model.
struct ModelStretch {
  std::size_t file;
  std::int64_t begin, end;
};
ModelStretch stretch_of(const io::Model& model, io::TensorPlace place);

// The same files, headers and side files.
io::PlannedModel plan_model(const io::Model& model);

// Copies all data but `replaced`, whose stretches ascend within each file. `digest` may be null.
//   where    collective
//   throws   SharedError as io::InputFile and io::ModelOutput
void copy_rest(Context& context, const io::ModelReader& reader,
               const std::vector<ModelStretch>& replaced, io::ModelOutput& output,
               ModelDigest* digest);

// Weights as they are stored, zero where `rows` have none. What has not changed is taken from
// `before`, unless that is empty.
//   shapes   before and result (rows x cols) elements of `type`
//   where    local, pure
//   throws   Error(kBadData) if a weight is too large for the type
std::vector<std::byte> spread_rows(io::WeightType type, const kernels::CsrRows& rows,
                                   std::span<const std::byte> before = {});

}  // namespace espalier::jobs
