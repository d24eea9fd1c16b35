// A whole model: its safetensors files, and what lies beside them (source: io/FORMAT.md,
// "safetensors").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "framework/comm.hpp"
#include "io/safetensors.hpp"

namespace espalier::io {

struct ModelFile {
  std::string name;  // without its folder
  std::string path;
  TensorHeader header;

  std::int64_t bytes() const noexcept { return header.data_start() + header.data_bytes(); }
};

// A tensor's place in a model.
struct TensorPlace {
  std::size_t file = 0, tensor = 0;
};

struct Model {
  std::string place;                    // as the user gave it: for messages
  bool folder = false;                  // of files; else the files themselves were named
  std::string path;                     // of the folder
  std::vector<ModelFile> files;         // by name
  std::vector<std::string> side_files;  // the folder's other plain files, the index among them

  const Tensor& tensor(TensorPlace at) const { return files.at(at.file).header.tensors[at.tensor]; }
  // Position of a tensor's first byte in its file.
  std::int64_t position(TensorPlace at) const {
    return files.at(at.file).header.data_start() + tensor(at).offset;
  }
  // Every file that is read, by name: those with tensors, then the side files.
  std::vector<std::string> paths() const;
};

// Opens a model: one folder with an index (or with a single file), or safetensors files.
//   where    collective over `comm`: rank 0 reads headers and index, all check them
//   throws   SharedError: kNoInput, kNoPermission; kBadData as parse_tensor_header, if a name
//            occurs twice, or if index and files differ
Model read_model(const Comm& comm, const std::vector<std::string>& places);

// Whether `place` is a folder or its name is that of a safetensors file. Local.
bool looks_like_model(const std::string& place);

}  // namespace espalier::io
