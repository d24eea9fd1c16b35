// Text files of `i<TAB>j<TAB>x` lines, parsed by all ranks at once.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "framework/comm.hpp"

namespace espalier::io {

// One line, its two 1-based indices as 0-based row and column.
struct Triplet {
  std::uint32_t row;
  std::uint32_t col;
  float value;
  std::uint32_t line;  // counted from 0 in the range of the rank that parsed it
};

struct TripletForm {
  std::string path;
  std::array<std::string, 3> names;    // of the three fields, for messages: "input", …
  std::array<std::int64_t, 2> limits;  // i is in 1..limits[0], j in 1..limits[1]; below 2^32
  int row_field = 0;                   // which of the two is the row
};

struct TripletLines {
  std::vector<Triplet> triplets;         // this rank's, in file order
  std::vector<std::int64_t> first_line;  // by rank: the number, 1-based, of its first line
  std::int64_t bytes_read = 0;           // by this rank
};

// Parses the file. The bytes are dealt evenly; a line belongs to the rank in whose range it begins.
// Lines end with LF or CRLF, the last one with either or nothing; empty lines may stand at the end.
//   where    collective over `comm`
//   throws   SharedError: kNoInput, kNoPermission, kIoFailed; kBadData for the first line that is
//            wrong, naming file, line, what was found and what would be right: the same text for
//            any number of ranks
//   cost     one pass over the bytes, 16 bytes of memory a line
TripletLines read_triplet_lines(const Comm& comm, const TripletForm& form);

// "FILE: line 12: ": how messages on a line begin.
std::string at_line(const std::string& path, std::int64_t line);

}  // namespace espalier::io
