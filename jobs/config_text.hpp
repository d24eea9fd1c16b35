// The text of a configuration file: `name = value` lines.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace espalier::jobs {

struct ConfigLine {
  int number = 0;  // from 1
  std::string name;
  std::string value;
};

// Reads `name = value` lines; empty lines and lines that begin with # or ; are skipped. A value in
// double quotes is a JSON string, so that blanks and line breaks survive.
//   throws   Error(kBadConfig) naming `file` and line
std::vector<ConfigLine> read_config_text(std::string_view file, const std::string& content);

// One such line, quoted where it must be.
std::string config_line(std::string_view name, const std::string& value);

}  // namespace espalier::jobs
