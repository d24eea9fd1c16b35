// Numbers, sizes and times as people write and read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::jobs {

// Each takes the whole text or nothing: no blanks, no rest, no rounding into range.
std::optional<std::int64_t> read_integer(std::string_view spelled);
std::optional<double> read_number(std::string_view spelled);  // finite
std::optional<bool> read_flag(std::string_view spelled);      // on off true false yes no 1 0
// Bytes, or a number with KiB, MiB, GiB or TiB; never negative.
std::optional<std::int64_t> read_size(std::string_view spelled);
// Seconds, HH:MM:SS or D-HH:MM:SS; never negative.
std::optional<double> read_duration(std::string_view spelled);

std::string grouped(std::int64_t number);       // "1,234,567"
std::string spelled_bytes(std::int64_t bytes);  // "512 B", "1.5 GiB"
// `number` with about `digits` significant digits: "0.0312", "1234", "32"; with an exponent below
// 0.001 and from 10^9 on.
std::string rounded(double number, int digits = 3);

}  // namespace espalier::jobs
