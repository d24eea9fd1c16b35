// What is kept of consecutive samples, and how it lies in a record of finished units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "framework/shard.hpp"
#include "io/unit_record.hpp"

namespace espalier::jobs {

struct OutcomeOptions {
  std::int64_t top_k = 0;  // 0: none
  bool full = false;       // all non-zero outputs
};

//   shapes   alive (samples); top_index, top_value (samples x top_k); of the full output, empty
//            without it: pointers (samples + 1, from 0), indices and values of what is not zero;
//            or, if `whole`, values (samples x outputs) alone
struct OutcomePiece {
  Range samples;  // global
  std::vector<std::uint8_t> alive;
  std::vector<std::int64_t> top_index;
  std::vector<float> top_value;
  std::int64_t nonzero = 0;  // full outputs that are not zero
  bool whole = false;
  std::vector<std::int64_t> pointers;
  std::vector<std::uint32_t> indices;
  std::vector<float> values;
};

// Whether full outputs are kept as they are, because that takes less room.
bool keeps_whole(std::int64_t samples, std::int64_t outputs, std::int64_t nonzero) noexcept;

// Adds a piece to the record: its arrays one after the other as they lie in memory (little-endian),
// the number of full outputs that are not zero before those.
//   throws   as UnitRecord::add
void add_outcome(io::UnitRecord& record, const OutcomePiece& piece, const OutcomeOptions& options);

// How many full outputs of a unit are not zero; 0 if none are kept.
std::int64_t nonzero_of_outcome(const io::UnitRecord& record, std::size_t unit,
                                const OutcomeOptions& options);

// A unit as a piece that is not whole any more.
//   shapes   `outputs` of the network
//   reuse    a piece that is done with: its memory is used again
//   throws   BugError if the unit's length does not fit; as UnitRecord::look_at
OutcomePiece read_outcome(const io::UnitRecord& record, std::size_t unit,
                          const OutcomeOptions& options, std::int64_t outputs, OutcomePiece reuse);

}  // namespace espalier::jobs
