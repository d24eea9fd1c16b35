#include "jobs/options.hpp"

#include <algorithm>
#include <cmath>

#include "jobs/config_text.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

constexpr const char* kSizeWords = "is no size; write bytes, or KiB, MiB or GiB as in 1.5GiB";
constexpr const char* kTimeWords = "is no time; write seconds or [days-]hours:minutes:seconds";

std::string in_quotes(std::string_view spelled) { return text("'", spelled, "'"); }

}  // namespace

std::int64_t parse_bytes(std::string_view option, std::string_view spelled) {
  const auto bytes = read_size(spelled);
  if (!bytes) {
    throw Error(ExitStatus::kUsage, text(option, ": ", in_quotes(spelled), " ", kSizeWords));
  }
  return *bytes;
}

double parse_seconds(std::string_view option, std::string_view spelled) {
  const auto seconds = read_duration(spelled);
  if (!seconds) {
    throw Error(ExitStatus::kUsage, text(option, ": ", in_quotes(spelled), " ", kTimeWords));
  }
  return *seconds;
}

bool Options::has(const std::string& name) const {
  expects(std::find(names_.begin(), names_.end(), name) != names_.end(),
          espalier::text("option --", name, " is declared by job ", job_));
  return values_.contains(name);
}

bool Options::given(const std::string& name) const {
  return has(name) && values_.at(name).origin != Origin::kDefault;
}

const Options::Value& Options::value(const std::string& name) const {
  if (has(name)) {
    return values_.at(name);
  }
  const bool bare = std::find(positional_.begin(), positional_.end(), name) != positional_.end();
  throw SharedError(ExitStatus::kUsage, espalier::text(bare ? "argument " : "option --", name,
                                                       " is missing; usage: espalier ", usage_));
}

const std::string& Options::single(const std::string& name) const {
  const Value& found = value(name);
  expects(found.texts.size() == 1, espalier::text("option --", name, " takes one value"));
  return found.texts.front();
}

std::string Options::text(const std::string& name) const {
  const std::string& found = single(name);
  if (found.empty()) {
    throw fault(name, "is empty");
  }
  return found;
}

std::vector<std::string> Options::texts(const std::string& name) const { return value(name).texts; }

std::int64_t Options::integer(const std::string& name, std::int64_t least,
                              std::int64_t most) const {
  const std::string& spelled = single(name);
  const auto found = read_integer(spelled);
  if (!found) {
    throw fault(name, espalier::text(in_quotes(spelled), " is no whole number (of 64 bits)"));
  }
  if (*found < least || *found > most) {
    constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
    throw fault(name, espalier::text(spelled, " is out of range; right is ", least,
                                     most == kMost ? " or more" : espalier::text(" to ", most)));
  }
  return *found;
}

double Options::number(const std::string& name) const {
  const std::string& spelled = single(name);
  const auto found = read_number(spelled);
  if (!found) {
    throw fault(name, espalier::text(in_quotes(spelled), " is no number"));
  }
  return *found;
}

bool Options::flag(const std::string& name) const {
  if (!has(name)) {
    return false;
  }
  const std::string& spelled = single(name);
  const auto found = read_flag(spelled);
  if (!found) {
    throw fault(name, espalier::text(in_quotes(spelled), " is neither on nor off"));
  }
  return *found;
}

std::int64_t Options::bytes(const std::string& name) const {
  const std::string& spelled = single(name);
  const auto found = read_size(spelled);
  if (!found) {
    throw fault(name, espalier::text(in_quotes(spelled), " ", kSizeWords));
  }
  return *found;
}

double Options::seconds(const std::string& name) const {
  const std::string& spelled = single(name);
  const auto found = read_duration(spelled);
  if (!found) {
    throw fault(name, espalier::text(in_quotes(spelled), " ", kTimeWords));
  }
  return *found;
}

std::string Options::choice(const std::string& name,
                            const std::vector<std::string>& allowed) const {
  const std::string& spelled = single(name);
  if (std::find(allowed.begin(), allowed.end(), spelled) != allowed.end()) {
    return spelled;
  }
  std::string list;
  for (const std::string& one : allowed) {
    list += (list.empty() ? "" : ", ") + one;
  }
  throw fault(name, espalier::text(in_quotes(spelled), " is none of ", list));
}

void Options::check_complete() const {
  for (const std::string& name : required_) {
    value(name);
  }
}

SharedError Options::fault(const std::string& name, std::string_view what) const {
  const Value& found = value(name);
  const bool outside = found.origin == Origin::kEnvironment || found.origin == Origin::kConfig;
  return {outside ? ExitStatus::kBadConfig : ExitStatus::kUsage,
          espalier::text(found.place, ": ", what)};
}

std::vector<std::pair<std::string, std::string>> Options::settings() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const std::string& name : names_) {
    if (name == "help" || name == "config" || name == "print-config" || !values_.contains(name)) {
      continue;
    }
    for (const std::string& one : values_.at(name).texts) {
      all.emplace_back(name, one);
    }
  }
  return all;
}

std::string Options::as_config() const {
  std::string lines = espalier::text("# espalier ", job_, "\n");
  for (const auto& [name, one] : settings()) {
    lines += config_line(name, one);
  }
  return lines;
}

}  // namespace espalier::jobs
