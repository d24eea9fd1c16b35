#include "io/unit_manifest.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <span>

#include "framework/error.hpp"
#include "framework/provenance.hpp"
#include "io/checksum.hpp"
#include "io/json_text.hpp"

namespace espalier::io {
namespace {

using nlohmann::json;

constexpr std::size_t kNumbersAUnit = 7;
constexpr std::int64_t kLargestCrc = std::numeric_limits<std::uint32_t>::max();

[[noreturn]] void refuse(const std::string& what) { throw Error(ExitStatus::kBadData, what); }

std::string crc_line(std::string_view content) {
  char line[16];
  std::snprintf(line, sizeof line, "%08x\n", crc32(std::as_bytes(std::span(content))));
  return line;
}

std::int64_t number_of(const json& value) {
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() &&
       value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max())) {
    refuse("its manifest is damaged: it has no whole number where one belongs");
  }
  return value.get<std::int64_t>();
}

std::int64_t number_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return number_of(found == object.end() ? json() : *found);
}

UnitEntry entry_of(const json& unit) {
  if (!unit.is_array() || unit.size() != kNumbersAUnit) {
    refuse("its manifest is damaged: a unit has seven numbers");
  }
  std::array<std::int64_t, kNumbersAUnit> n{};
  std::transform(unit.begin(), unit.end(), n.begin(), number_of);
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6]};
}

// Sorts what was found and checks that it is a list of units of `manifest`.
void check_entries(UnitManifest& manifest) {
  std::sort(manifest.entries.begin(), manifest.entries.end(),
            [](const UnitEntry& a, const UnitEntry& b) { return a.begin < b.begin; });
  std::int64_t end = 0;
  for (const UnitEntry& e : manifest.entries) {
    const bool ordered = e.begin >= end && e.end > e.begin && e.end <= manifest.items;
    const bool placed = e.run >= 1 && e.run <= manifest.runs && e.rank >= 0 && e.offset >= 0 &&
                        e.bytes >= 0 && e.crc >= 0 && e.crc <= kLargestCrc &&
                        e.bytes <= std::numeric_limits<std::int64_t>::max() - e.offset;
    if (!ordered || !placed) {
      refuse(text("its manifest lists items ", e.begin, " to ", e.end - (e.end > e.begin ? 1 : 0),
                  " out of place"));
    }
    end = e.end;
  }
}

std::string text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

json value_at(const json& object, const std::string& key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? json() : *found;
}

}  // namespace

json describe_job(const Provenance& provenance) {
  return {{"inputs", provenance.inputs},
          {"job", provenance.job},
          {"job_digest", job_digest(provenance)},
          {"options", provenance.options},
          {"version", version()}};
}

std::string difference_of_jobs(const json& before, const json& now) {
  if (text_at(before, "job_digest") == text_at(now, "job_digest")) {
    return "";
  }
  for (const char* key : {"job", "version"}) {
    if (text_at(before, key) != text_at(now, key)) {
      return text("it was left by another ", key, " (", text_at(before, key), ", now ",
                  text_at(now, key), ")");
    }
  }
  const json options = value_at(before, "options");
  for (const auto& [name, value] : now.at("options").items()) {
    const json old = value_at(options, name);
    if (old != value) {
      return text("it was left with another ", name, " (", old.dump(), ", now ", value.dump(), ")");
    }
  }
  const json inputs = value_at(before, "inputs");
  for (std::size_t i = 0; i < now.at("inputs").size(); ++i) {
    if (!inputs.is_array() || i >= inputs.size() || inputs[i] != now["inputs"][i]) {
      return text("input ", i + 1, " has changed since");
    }
  }
  return "it was left by another job";
}

std::string spell_manifest(const UnitManifest& manifest) {
  json content = manifest.job;
  content["format"] = kFormat;
  content["items"] = manifest.items;
  content["runs"] = manifest.runs;
  if (!manifest.cut.empty()) {
    content["cut"] = manifest.cut;
  }
  json& units = content["units"] = json::array();
  for (const UnitEntry& e : manifest.entries) {
    units.push_back({e.begin, e.end, e.run, e.rank, e.offset, e.bytes, e.crc});
  }
  const std::string line = content.dump(-1, ' ', false, json::error_handler_t::replace);
  return line + "\n" + crc_line(line);
}

UnitManifest parse_manifest(std::string_view spelled) {
  const auto line = spelled.find('\n');
  const std::string_view content = spelled.substr(0, line);
  if (line == std::string_view::npos || spelled.substr(line + 1) != crc_line(content)) {
    refuse("its manifest is damaged");
  }
  json found = parse_json(content);
  if (!found.is_object() || !value_at(found, "units").is_array()) {
    refuse("its manifest is damaged: it lists no units");
  }
  UnitManifest manifest;
  manifest.items = number_at(found, "items");
  manifest.runs = number_at(found, "runs");
  for (const json& number : value_at(found, "cut")) {
    manifest.cut.push_back(number_of(number));
  }
  for (const json& unit : found["units"]) {
    manifest.entries.push_back(entry_of(unit));
  }
  found.erase("units");
  manifest.job = std::move(found);
  check_entries(manifest);
  return manifest;
}

}  // namespace espalier::io
