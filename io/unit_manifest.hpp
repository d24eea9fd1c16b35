// The list of finished units of a job, as text (source: io/FORMAT.md, "What an unfinished job
// leaves").
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "io/staged_file.hpp"

namespace espalier::io {

// Items [begin, end) and where their bytes lie: in the file of that run and rank.
struct UnitEntry {
  std::int64_t begin, end, run, rank, offset, bytes, crc;
};

struct UnitManifest {
  nlohmann::json job;              // what describe_job says of it
  std::int64_t items = 0;          // of the whole job
  std::int64_t runs = 0;           // that have saved
  std::vector<std::int64_t> cut;   // how items are cut into units, if that is fixed; else empty
  std::vector<UnitEntry> entries;  // ascending, none overlaps another
};

// `job`, `version`, `options`, `inputs` and `job_digest`.
nlohmann::json describe_job(const Provenance& provenance);

// What differs between two jobs, in words; empty if nothing does.
//   where    pure
std::string difference_of_jobs(const nlohmann::json& before, const nlohmann::json& now);

std::string spell_manifest(const UnitManifest& manifest);

// The reverse. Numbers are checked against each other, bytes are not looked at.
//   where    pure
//   throws   Error(kBadData) with the reason alone
UnitManifest parse_manifest(std::string_view spelled);

}  // namespace espalier::io
