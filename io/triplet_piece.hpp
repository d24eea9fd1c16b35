// One piece of a file of triplet lines, parsed by one process; for io's own sources.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/shard.hpp"
#include "io/input_file.hpp"
#include "io/line_feeder.hpp"
#include "io/triplet_lines.hpp"

namespace espalier::io {

// Line numbers in a range have 32 bits; one more piece must still fit.
inline constexpr std::int64_t kMostLines =
    std::numeric_limits<std::uint32_t>::max() - std::int64_t{LineFeeder::kLongestLine};

// What was found in the range of a piece. Lines are counted from 0.
struct PieceOutcome {
  std::int64_t lines = 0;        // up to and without a faulty one
  std::int64_t trailing = -1;    // the first of the empty lines at the end, -1 if none
  std::int64_t fault_line = -1;  // -1: none
  std::int64_t has_content = 0;  // lines that are not empty
};

// A piece of the file, parsed.
struct TripletPiece {
  PieceOutcome outcome;
  std::vector<Triplet> triplets;
  std::string fault;  // what is wrong with the faulty line
  std::int64_t bytes_read = 0;
};

// The lines that begin in the range.
//   where    local
//   throws   as InputFile::read; Error(kDoesNotFit) if they are more than kMostLines
TripletPiece parse_piece(const TripletForm& form, const InputFile& file, Range range);

// Says what is wrong with a line that is none of the form.
std::string explain_line(std::string_view line, const TripletForm& form);

// A sound piece as bytes to keep, and back.
std::vector<std::byte> pack_piece(const TripletPiece& piece);
TripletPiece unpack_piece(const TripletForm& form, std::span<const std::byte> bytes);

}  // namespace espalier::io
