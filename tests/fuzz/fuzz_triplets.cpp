// A file of triplet lines: however it is cut into pieces, the same lines are read, or the same line
// is refused.
#include <algorithm>

#include "framework/error.hpp"
#include "framework/shard.hpp"
#include "io/triplet_piece.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_all.hpp"

namespace {

using namespace espalier;

// The pieces of a file put together, up to a line that is refused.
io::TripletPiece parse(const io::TripletForm& form, const io::InputFile& file, int pieces) {
  io::TripletPiece whole;
  for (int number = 0; number < pieces && whole.fault.empty(); ++number) {
    io::TripletPiece piece = io::parse_piece(form, file, split_evenly(file.size(), pieces, number));
    fuzz::check(piece.fault.empty() == (piece.outcome.fault_line < 0));
    for (io::Triplet& triplet : piece.triplets) {
      fuzz::check(triplet.row < 300 && triplet.col < 70000 && std::isfinite(triplet.value));
      triplet.line += static_cast<std::uint32_t>(whole.outcome.lines);
      whole.triplets.push_back(triplet);
    }
    // An empty line between lines is for the pieces' reader to find.
    if (whole.outcome.trailing >= 0 && piece.outcome.has_content != 0) {
      whole.outcome.fault_line = whole.outcome.trailing;
      whole.fault = io::explain_line("", form);
      return whole;
    }
    if (piece.outcome.fault_line >= 0) {
      whole.outcome.fault_line = whole.outcome.lines + piece.outcome.fault_line;
    } else if (piece.outcome.trailing >= 0 && whole.outcome.trailing < 0) {
      whole.outcome.trailing = whole.outcome.lines + piece.outcome.trailing;
    }
    whole.outcome.lines += piece.outcome.lines;
    whole.fault = piece.fault;
    if (piece.fault.empty()) {
      const auto kept = io::unpack_piece(form, io::pack_piece(piece));
      fuzz::check(kept.triplets.size() == piece.triplets.size());
    }
  }
  return whole;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile memory(data, size);
  const io::InputFile file(memory.path());
  const io::TripletForm form{"fuzz", {"input", "output", "weight"}, {70000, 300}, 1};
  const io::TripletPiece whole = parse(form, file, 1);
  for (const int pieces : {2, 3, 7}) {
    const io::TripletPiece cut = parse(form, file, pieces);
    fuzz::check(cut.fault == whole.fault && cut.outcome.fault_line == whole.outcome.fault_line);
    const auto same = [](const io::Triplet& a, const io::Triplet& b) {
      return a.row == b.row && a.col == b.col && a.value == b.value && a.line == b.line;
    };
    fuzz::check(!whole.fault.empty() ||
                std::equal(cut.triplets.begin(), cut.triplets.end(), whole.triplets.begin(),
                           whole.triplets.end(), same));
  }
  return 0;
}
