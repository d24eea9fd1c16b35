#include "jobs/config_text.hpp"

#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/error.hpp"

namespace espalier::jobs {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view line) {
  const auto first = line.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) {
    return {};
  }
  return line.substr(first, line.find_last_not_of(kBlanks) - first + 1);
}

[[noreturn]] void refuse(std::string_view file, int number, std::string_view what) {
  throw Error(ExitStatus::kBadConfig, text(file, ":", number, ": ", what));
}

}  // namespace

std::vector<ConfigLine> read_config_text(std::string_view file, const std::string& content) {
  std::vector<ConfigLine> lines;
  std::istringstream in(content);
  std::string whole;
  for (int number = 1; std::getline(in, whole); ++number) {
    const std::string_view line = trimmed(whole);
    if (line.empty() || line.front() == '#' || line.front() == ';') {
      continue;
    }
    const auto equals = line.find('=');
    if (line.front() == '[' || equals == std::string_view::npos || equals == 0) {
      refuse(file, number, text("'", line, "' is not of the form name = value"));
    }
    const auto value = trimmed(line.substr(equals + 1));
    lines.push_back({number, std::string(trimmed(line.substr(0, equals))), std::string(value)});
    if (value.starts_with('"')) {
      const auto unquoted = nlohmann::json::parse(value, nullptr, false);
      if (!unquoted.is_string()) {
        refuse(file, number, text(value, " is no text in double quotes"));
      }
      lines.back().value = unquoted.get<std::string>();
    }
  }
  return lines;
}

std::string config_line(std::string_view name, const std::string& value) {
  const bool plain =
      trimmed(value) == value && !value.starts_with('"') && value.find('\n') == std::string::npos;
  using Json = nlohmann::json;
  const std::string spelled =
      plain ? value : Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
  return text(name, " = ", spelled, "\n");
}

}  // namespace espalier::jobs
