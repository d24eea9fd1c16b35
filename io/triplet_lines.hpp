// Text files of `i<TAB>j<TAB>x` lines, parsed by all ranks at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "framework/shard.hpp"

namespace espalier::io {

// One line, its two 1-based indices as 0-based row and column.
struct Triplet {
  std::uint32_t row;
  std::uint32_t col;
  float value;
  std::uint32_t line;  // counted from 0 among those that its rank has parsed
};

struct TripletForm {
  std::string path;
  std::array<std::string, 3> names;    // of the three fields, for messages: "input", …
  std::array<std::int64_t, 2> limits;  // i is in 1..limits[0], j in 1..limits[1]; below 2^32
  int row_field = 0;                   // which of the two is the row
};

struct TripletLines {
  std::vector<Triplet> triplets;  // this rank's, in file order
  std::int64_t bytes_read = 0;    // by this rank

  // Each rank's lines are some stretches of the file's.
  struct Stretch {
    std::int64_t begin, first_line;  // Triplet::line of its first line, and that line's number
  };
  std::vector<std::vector<Stretch>> stretches;  // by rank, ascending

  // The number, from 1, of a line in the file.
  std::int64_t number_of(std::size_t rank, std::int64_t line) const;
};

// For a file that is parsed piece by piece, so that finished pieces can be kept.
struct TripletPieces {
  int count = 0;  // even parts of the file's bytes, dealt in turns; 0: one for each rank
  // What was kept of a piece, empty if nothing; and keeping it, which is asked of sound ones.
  // Local.
  std::function<std::vector<std::byte>(Range bytes)> find;
  std::function<void(Range bytes, std::span<const std::byte> piece)> keep;
  std::function<void(Range bytes)> after_round;  // when each rank has had one; collective
};

// Parses the file. The bytes are dealt as `pieces` says; a line belongs to the piece in whose range
// it begins. Lines end with LF or CRLF, the last one with either or nothing; empty lines may stand
// at the end.
//   where    collective over `comm`
//   throws   SharedError: kNoInput, kNoPermission, kIoFailed; kBadData for the first line that is
//            wrong, naming file, line, what was found and what would be right: the same text for
//            any number of ranks
//   cost     one pass over the bytes, 16 bytes of memory a line
TripletLines read_triplet_lines(const Comm& comm, const TripletForm& form,
                                const TripletPieces& pieces = {});

// "FILE: line 12: ": how messages on a line begin.
std::string at_line(const std::string& path, std::int64_t line);

}  // namespace espalier::io
