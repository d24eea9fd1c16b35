// From one model to another: what is copied, what is spread, and the digest of what is read.
#pragma once

#include <cstdint>
#include <functional>
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
  // What is known of a model before its data are read: all sizes and headers. Local.
  static std::string digest_headers(const io::Model& model);

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
// Rows of a layer.
ModelStretch stretch_of(const io::ModelReader& reader, std::int64_t layer, Range rows);

// Complains if rows of a layer have another checksum now than when they were counted or measured.
//   where    local
//   throws   Error(kBadData)
void check_same_rows(const io::ModelReader& reader, std::int64_t layer, Range rows,
                     std::uint32_t before, std::uint32_t now);

// The same files, headers and side files.
io::PlannedModel plan_model(const io::Model& model);

// All data but `replaced`, whose stretches ascend within each file, in parts that fit into memory.
//   where    local, pure
std::vector<ModelStretch> rest_of(const io::Model& model,
                                  const std::vector<ModelStretch>& replaced);

// All data but the layers of a reader.
std::vector<ModelStretch> rest_of_layers(const io::ModelReader& reader);

// Copies a part and returns its CRC. Local; several threads may, each with its own buffer.
std::uint32_t copy_part(const io::ModelReader& reader, const ModelStretch& part,
                        io::ModelOutput& output, std::vector<std::byte>& buffer);

// Copies parts; `check`, which may throw and is local, is asked before each.
//   where    collective
//   throws   SharedError as io::InputFile and io::ModelOutput
void copy_parts(
    Context& context, const io::ModelReader& reader, const std::vector<ModelStretch>& parts,
    io::ModelOutput& output, const std::function<void()>& check = [] {});

// Weights as they are stored, zero where `rows` have none. What has not changed is taken from
// `before`, unless that is empty.
//   shapes   before and result (rows x cols) elements of `type`
//   where    local, pure
//   throws   Error(kBadData) if a weight is too large for the type
std::vector<std::byte> spread_rows(io::WeightType type, const kernels::CsrRows& rows,
                                   std::span<const std::byte> before = {});

}  // namespace espalier::jobs
