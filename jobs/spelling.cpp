#include "jobs/spelling.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <system_error>
#include <utility>

#include "framework/error.hpp"

namespace espalier::jobs {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 4> kUnits = {
    {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}}};

template <typename Number>
std::optional<Number> read_whole(std::string_view spelled) {
  Number number{};
  const auto [end, error] =
      std::from_chars(spelled.data(), spelled.data() + spelled.size(), number);
  if (error != std::errc{} || end != spelled.data() + spelled.size()) {
    return std::nullopt;
  }
  return number;
}

// One or two digits below `limit`.
std::optional<std::int64_t> read_part(std::string_view spelled, std::int64_t limit) {
  const auto number = read_integer(spelled);
  const bool fits = number && !spelled.starts_with('-') && spelled.size() <= 2 && *number < limit;
  return fits ? number : std::nullopt;
}

}  // namespace

std::optional<std::int64_t> read_integer(std::string_view spelled) {
  return read_whole<std::int64_t>(spelled);
}

std::optional<double> read_number(std::string_view spelled) {
  const auto number = read_whole<double>(spelled);
  return number && std::isfinite(*number) ? number : std::nullopt;
}

std::optional<bool> read_flag(std::string_view spelled) {
  for (const std::string_view yes : {"on", "true", "yes", "1"}) {
    if (spelled == yes) {
      return true;
    }
  }
  for (const std::string_view no : {"off", "false", "no", "0"}) {
    if (spelled == no) {
      return false;
    }
  }
  return std::nullopt;
}

std::optional<std::int64_t> read_size(std::string_view spelled) {
  for (const auto& [unit, factor] : kUnits) {
    if (spelled.ends_with(unit)) {
      const auto number = read_number(spelled.substr(0, spelled.size() - unit.size()));
      const double bytes = number.value_or(-1) * factor;
      const bool fits = bytes >= 0 && bytes < 0x1p63;
      return fits ? std::optional(static_cast<std::int64_t>(std::llround(bytes))) : std::nullopt;
    }
  }
  const auto bytes = read_integer(spelled);
  return bytes && *bytes >= 0 ? bytes : std::nullopt;
}

std::optional<double> read_duration(std::string_view spelled) {
  const auto first = spelled.find(':');
  if (first == std::string_view::npos) {
    const auto seconds = read_number(spelled);
    return seconds && *seconds >= 0 ? seconds : std::nullopt;
  }
  const auto dash = spelled.substr(0, first).find('-');
  const bool has_days = dash != std::string_view::npos;
  const auto days = has_days ? read_integer(spelled.substr(0, dash)) : 0;
  const auto clock = has_days ? spelled.substr(dash + 1) : spelled;
  const auto colon = clock.find(':');
  const auto last = clock.rfind(':');
  if (colon == last) {
    return std::nullopt;
  }
  const auto hours =
      has_days ? read_part(clock.substr(0, colon), 24) : read_integer(clock.substr(0, colon));
  const auto minutes = read_part(clock.substr(colon + 1, last - colon - 1), 60);
  const auto seconds = read_part(clock.substr(last + 1), 60);
  if (!days || !hours || !minutes || !seconds) {
    return std::nullopt;
  }
  return 86400.0 * static_cast<double>(*days) + 3600.0 * static_cast<double>(*hours) +
         60.0 * static_cast<double>(*minutes) + static_cast<double>(*seconds);
}

std::string grouped(std::int64_t number) {
  const std::string digits = std::to_string(number);
  std::string spelled;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const std::size_t left = digits.size() - i;
    if (left % 3 == 0 && i > 0 && digits[i - 1] != '-') {
      spelled += ',';
    }
    spelled += digits[i];
  }
  return spelled;
}

std::string spelled_bytes(std::int64_t bytes) {
  std::string_view unit = "B";
  double number = static_cast<double>(bytes);
  for (const auto& [name, factor] : kUnits) {
    if (static_cast<double>(bytes) >= factor) {
      unit = name;
      number = static_cast<double>(bytes) / factor;
    }
  }
  return text(unit == "B" ? std::to_string(bytes) : rounded(number), " ", unit);
}

std::string rounded(double number, int digits) {
  char spelled[64];
  const double size = std::fabs(number);
  if (size != 0 && (size < 1e-3 || size >= 1e9)) {
    std::snprintf(spelled, sizeof spelled, "%.*g", digits, number);
    return spelled;
  }
  const int before = size == 0 ? 0 : static_cast<int>(std::floor(std::log10(size))) + 1;
  std::snprintf(spelled, sizeof spelled, "%.*f", std::max(0, digits - before), number);
  std::string trimmed = spelled;
  if (trimmed.find('.') != std::string::npos) {
    trimmed.erase(trimmed.find_last_not_of('0') + 1);
    trimmed.erase(trimmed.find_last_not_of('.') + 1);
  }
  return trimmed;
}

}  // namespace espalier::jobs
