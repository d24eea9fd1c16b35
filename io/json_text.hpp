// JSON that stands in files we did not write.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::io {

// Parses `spelled`; the result is_discarded() if it is no JSON or nested deeper than 32 levels:
// copying or printing a deeper one could overflow the stack.
nlohmann::json parse_json(std::string_view spelled);

// A key that an object of this JSON has twice, if there is one: parse_json() keeps one of the two.
std::optional<std::string> repeated_key(std::string_view spelled);

}  // namespace espalier::io
