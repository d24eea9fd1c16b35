// The structure of an output before its data: groups, attributes, datasets of their final size.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "io/catalog.hpp"
#include "io/element_type.hpp"
#include "io/h5.hpp"

namespace espalier::io {

// An HDF5 file that one process, which holds PATH.part's lock, changes by itself.
class SerialFile {
 public:
  // Creates it, or replaces its content; metadata is laid out in pieces of `metadata_bytes`.
  //   throws   Error(kIoFailed)
  static SerialFile create(const std::string& name, std::int64_t metadata_bytes);
  static SerialFile open(const std::string& name);
  // Without close(), HDF5 closes it at its end. That is for failures: a close that cannot write
  // crashes the library later, and until then PATH.part may have been emptied and have room again.
  ~SerialFile() { file_.release(); }
  SerialFile(SerialFile&&) = default;
  SerialFile& operator=(SerialFile&&) = delete;

  hid_t get() const noexcept { return file_.get(); }
  // Take what an HDF5 call on this file returned.
  //   throws   Error(kIoFailed)
  H5Handle own(hid_t id) const;
  void check(herr_t code) const;
  void close();

 private:
  SerialFile(std::string name, H5Handle file) : name_(std::move(name)), file_(std::move(file)) {}
  std::string name_;
  H5Handle file_;
};

class Skeleton {
 public:
  // Local; see StagedFile. Parents of a path are made as needed.
  void add_group(const std::string& path);
  void add_attribute(const std::string& object, const std::string& name,
                     const nlohmann::json& value);
  void add_dataset(const std::string& path, ElementType type, std::vector<std::int64_t> shape);

  // The structure as read_catalog will find it (but for positions in the file).
  const Catalog& catalog() const noexcept { return catalog_; }

  // Bytes of all datasets, and with what HDF5 needs around them (an estimate).
  std::int64_t data_bytes() const;
  std::int64_t file_bytes() const;

  // Creates `file`, or replaces its content. Equal skeletons make equal bytes.
  //   where    local
  //   throws   Error(kIoFailed)
  //   returns  where in the file each dataset lies that has data and is not compressed, by path
  std::map<std::string, std::int64_t> build(const std::string& file, bool compress) const;

 private:
  Catalog catalog_;
};

}  // namespace espalier::io
