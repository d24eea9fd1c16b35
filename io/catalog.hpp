// What is in an HDF5 file: found by a child process with limits, so that a damaged or hostile file
// can crash or hang that process only (HDF5 1.10 does both).
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/comm.hpp"
#include "io/element_type.hpp"

namespace espalier::io {

struct Dataset {
  std::string path;  // absolute inside the file: "/layers/000000/weight/values"
  ElementType type;
  std::vector<std::int64_t> shape;  // empty for a scalar
  // First byte in the file if the elements lie there unfiltered in one piece and within the file;
  // otherwise (chunked, compact, virtual) they can be read through HDF5 only.
  std::optional<std::int64_t> offset;
  bool filtered = false;

  std::int64_t count() const noexcept;  // elements
  std::int64_t bytes() const noexcept { return count() * type.bytes; }
};

// An attribute as JSON: text, integer, float, or a flat array of these; null if of another type, of
// more than 1 Mi elements, or not finite. Bytes that are not UTF-8 become U+FFFD.
using Attributes = std::map<std::string, nlohmann::json>;

struct Catalog {
  std::string file;
  std::int64_t file_bytes = 0;
  std::map<std::string, Dataset> datasets;    // by path
  std::map<std::string, Attributes> objects;  // by path: every group (also "/") and dataset

  const Dataset* find_dataset(const std::string& path) const;  // nullptr if absent
  //   throws   Error(kBadData) naming file and path if it is absent
  const Dataset& dataset(const std::string& path) const;
  // nullptr if the object or the attribute is absent.
  const nlohmann::json* find_attribute(const std::string& object, const std::string& name) const;
  bool has_group(const std::string& path) const;
  // Names of the objects directly below group `path`, ascending.
  std::vector<std::string> children(const std::string& path) const;
};

// Walks `file` in a child process on rank 0 (limits: 2 GiB, 120 s, 4 million objects, groups 64
// deep) and broadcasts what it found. Soft links are followed inside the file; an external link is
// as good as absent. An object with several paths is listed under each; a group inside itself is
// listed without its contents.
//   where    collective over `comm`
//   throws   SharedError: kNoInput, kNoPermission, kBadData ("not an HDF5 file", "truncated",
//            "damaged: the HDF5 library crashed on its structure", an external file is named, …)
Catalog read_catalog(const Comm& comm, const std::string& file);

// The child's side: walks the file with HDF5 and returns the catalog as JSON text.
//   where    local, in espalier-walk only
//   throws   Error(kBadData)
std::string walk_file(const std::string& file);
Catalog parse_catalog(const std::string& file, std::string_view json);

}  // namespace espalier::io
