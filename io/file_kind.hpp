// Which of espalier's kinds a file is.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "io/catalog.hpp"

namespace espalier::io {

// What the file says of itself: the JSON object of the root attribute `espalier` (io/FORMAT.md,
// "What every file says of itself"); null if there is none.
//   where    pure
nlohmann::json origin_of(const Catalog& catalog);

// "network", "batch" or "result", by the root attribute `espalier` or, in files made by others, by
// the objects in it; "" if it is none of these.
//   where    pure
//   throws   Error(kBadData) if the attribute is damaged or of a newer format
std::string kind_of_file(const Catalog& catalog);

// Checks that the file is what the caller needs.
//   where    pure
//   throws   Error(kBadData): "batch.h5 is a batch file; a network file is needed here"
void expect_kind(const Catalog& catalog, const std::string& kind);

}  // namespace espalier::io
