// A model as an output: a folder of safetensors files or one such file, complete or absent.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/model.hpp"
#include "io/part_file.hpp"
#include "io/staged_file.hpp"

namespace espalier::io {

// Asks, before any work, whether a model may be written to `path`. A path that ends with
// .safetensors is that of a file, any other that of a folder.
//   where    collective over `comm`
//   throws   SharedError: kCannotCreate, kNoPermission as check_output
void check_model_place(const Comm& comm, const std::string& path, const OutputOptions& options);

// The job_digest of the model that espalier has written to `path`; empty if there is none.
//   where    collective over `comm`
std::string stored_model_digest(const Comm& comm, const std::string& path);

// What is going to be written: files with their headers, data to follow, and side files to copy.
struct PlannedModel {
  std::vector<std::string> names;     // of files; of the only one, if the output is a file
  std::vector<TensorHeader> headers;  // as many
  std::string side_folder;            // where side files come from
  std::vector<std::string> side_files;
};

// Written by all ranks to PATH.part, renamed when complete. `comm` is borrowed.
class ModelOutput {
 public:
  // Makes all files at full size, reserves their space, writes headers, copies side files. With
  // `resume` files and their data are those that an earlier run has left in PATH.part.
  //   where    collective
  //   throws   SharedError: kIoFailed if the disk is full; kCannotCreate also if another run is
  //            writing PATH.part; kNoPermission; kBadData if it is not what an earlier run of this
  //            job leaves there
  ModelOutput(const Comm& comm, std::string path, PlannedModel planned, OutputOptions options,
              bool resume = false);
  ~ModelOutput();
  ModelOutput(const ModelOutput&) = delete;
  ModelOutput& operator=(const ModelOutput&) = delete;

  // Bytes from `position` of a file on (its header counts). Every byte of data once, by whom ever;
  // several threads may write at a time. Waits for the disk if too much is on its way there, so
  // that sync() and finish() are a matter of seconds.
  //   where    local
  //   throws   Error(kIoFailed)
  void write(std::size_t file, std::int64_t position, std::span<const std::byte> bytes);
  // Bytes that are there. Several threads may read at a time.
  //   where    local
  //   throws   Error(kIoFailed)
  void read(std::size_t file, std::int64_t position, std::span<std::byte> out) const;
  // Where they are, for messages: the name of the file in PATH.part.
  std::string name(std::size_t file) const;

  // Makes safe against a crash what this node's ranks have written.
  //   where    local
  //   throws   Error(kIoFailed)
  void sync() const;
  // PATH.part stays if the output is not finished: for jobs that are going to be resumed. Local.
  void keep() noexcept;

  // Syncs, puts down where the model comes from, renames.
  //   where    collective
  void finish(const Provenance& provenance);

  std::int64_t bytes_written() const noexcept;  // by this rank

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::io
