// Outputs: complete and checked, or absent.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/element_type.hpp"

namespace espalier::io {

struct OutputOptions {
  bool force = false;     // an existing file may be replaced
  bool compress = false;  // chunked, shuffle + deflate; content equal, bytes not
  // The most that a rank hands to MPI in one collective write.
  std::int64_t round_bytes = std::int64_t{1} << 30;
};

enum class OutputState { kFree, kAlreadyDone };

// Asks, before any work, whether `path` may be written: kAlreadyDone if it is a finished HDF5
// output whose stored job_digest is `job_digest` (and `force` is off).
//   where    collective over `comm`
//   throws   SharedError: kCannotCreate if anything else is in its place and `force` is off, if
//            the folder is missing or path is a folder; kNoPermission if the folder is not
//            writable
OutputState check_output(const Comm& comm, const std::string& path, const std::string& job_digest,
                         const OutputOptions& options);

// Does the output exist already? Then, and only then, is it worth computing the job digest early.
//   where    collective over `comm`
bool output_exists(const Comm& comm, const std::string& path);

// The version of the formats that this code writes, and the newest that it reads.
inline constexpr int kFormat = 1;

// What every output says of itself in the root attribute `espalier` (io/FORMAT.md).
struct Provenance {
  std::string kind;                 // "network", "batch", "result"
  std::string job;                  // "import", "infer", …
  nlohmann::json options;           // the canonical options that matter for the result
  std::vector<std::string> inputs;  // digests of the inputs, in order
};
// SHA-256 over job, version, options and inputs.
std::string job_digest(const Provenance& provenance);

// One HDF5 file written by all ranks to PATH.part and renamed when complete and checked.
// Life: add_… (the same calls on every rank), create, write…, finish. If it is destroyed before
// finish, rank 0 removes PATH.part; nothing is communicated then: HDF5 closes the file in
// MPI_Finalize. `comm` is borrowed.
class StagedFile {
 public:
  StagedFile(const Comm& comm, std::string path, Provenance provenance, OutputOptions options);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  // Local. Parents of a path are made as needed.
  void add_group(const std::string& path);
  // Text becomes a variable-length UTF-8 string, numbers int64 or float64 scalars, arrays of
  // numbers 1-D int64 or float64.
  void add_attribute(const std::string& object, const std::string& name,
                     const nlohmann::json& value);
  // Returns the handle for write.
  int add_dataset(const std::string& path, ElementType type, std::vector<std::int64_t> shape);

  // Makes the whole skeleton in one go and reserves the space.
  //   where    collective
  //   throws   SharedError: kIoFailed if the disk is full (naming the bytes needed and free);
  //            kCannotCreate if the file exists without `force`, another run is writing PATH.part,
  //            or the ranks do not share the folder; kNoPermission
  void create();

  // Writes elements [first, first + bytes / element size) in row-major order. Every rank calls;
  // an empty span writes nothing. A 2-D dataset takes whole rows. Ranges of all calls together
  // cover each element exactly once; pieces of one dataset come from a rank in ascending order.
  //   where    collective; what is not compressed is written without HDF5 and MPI
  //   throws   SharedError(kIoFailed)
  void write(int dataset, std::int64_t first, std::span<const std::byte> bytes);

  // Completes checksums and digest, closes, re-opens and checks all of it, syncs, renames.
  //   where    collective
  //   throws   SharedError: kIoFailed; kOurBug if an element was written never or twice
  //   cost     reads back every byte once
  void finish();

  const Comm& comm() const noexcept;

  std::int64_t bytes_written() const noexcept;  // by this rank

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A small plain output (text, .npy) written by rank 0 with the same promise.
//   where    collective over `comm`; `bytes` matter on rank 0 only
void write_whole_file(const Comm& comm, const std::string& path, std::span<const std::byte> bytes,
                      const OutputOptions& options);

}  // namespace espalier::io
