// What is in one of espalier's files, as JSON and as a table for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "io/catalog.hpp"

namespace espalier::jobs {

enum class FileKind { kNetwork, kBatch, kResult };

// What the file says it is, else what its objects look like (io/FORMAT.md, "Files made by others").
//   throws   Error(kBadData) naming what is there, if it is none of ours
FileKind kind_of(const io::Catalog& catalog);
std::string to_string(FileKind kind);  // "network", "batch", "result"

// Everything but the data: kind, sizes, types, provenance, and each layer of a network.
//   where    pure
//   throws   Error(kBadData) if the structure is not sound
nlohmann::ordered_json describe_file(const io::Catalog& catalog);

// The same as aligned lines. Of many layers the first and last ones, or all of them.
std::string description_table(const nlohmann::ordered_json& description, bool all_layers);

}  // namespace espalier::jobs
