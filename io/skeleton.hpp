// The structure of an output before its data: groups, attributes, datasets of their final size.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/catalog.hpp"
#include "io/element_type.hpp"
#include "io/h5.hpp"

namespace espalier::io {

// Opens an HDF5 file serially, for the process that holds PATH.part's lock.
H5Handle serial_access();

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
  void build(const std::string& file, bool compress) const;

 private:
  Catalog catalog_;
};

}  // namespace espalier::io
