// A layer's weights dealt along the other direction than the one they are stored in.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/network_file.hpp"
#include "io/side_file.hpp"
#include "jobs/pieces.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Reads a layer in pieces of its own lines (columns of CSC, else rows), sets the weights aside by
// the pieces of the lines across them, and gives these piece by piece. Borrows everything.
//   cost     two passes over the layer, each rank its share; 12 bytes a weight aside, on the disk
//            beyond `memory.kept_bytes`; each weight once over the network; 8 bytes a line of
//            memory
class TurnedLayer {
 public:
  // Pieces begin at multiples of `step` lines. `folder` takes what is set aside.
  //   where    collective over `comm`
  //   throws   SharedError, also kDoesNotFit if a line is larger than a piece
  TurnedLayer(const Comm& comm, const io::NetworkReader& reader, std::int64_t layer,
              const PieceMemory& memory, const std::string& folder, std::int64_t step = 1);

  std::int64_t rounds() const noexcept { return pieces_->rounds(0); }
  // This rank's lines of a round, sorted. Any order of rounds, as often as wanted.
  //   where    collective
  kernels::CsrRows exchange_lines(std::int64_t round) const;

 private:
  struct Entry {
    std::uint32_t line, across;
    float value;
  };
  struct Segment {
    std::int64_t position, count;
  };
  std::int64_t stored_before(std::int64_t line) const;
  template <typename Use>
  void for_each_piece(Use&& use) const;
  void count(const PieceMemory& memory, std::int64_t step);
  void set_aside(const kernels::CsrRows& rows);
  std::vector<std::byte> fetch(std::size_t piece) const;
  kernels::CsrRows sort(const std::vector<std::vector<std::byte>>& parts, Range lines) const;

  const Comm& comm_;
  const io::NetworkReader& reader_;
  std::int64_t layer_;
  const io::MatrixInfo& matrix_;
  bool by_columns_;             // what is stored; the result is then by rows
  std::int64_t lines_, width_;  // of the result
  std::int64_t piece_entries_;
  Range mine_;  // what is stored, this rank's share
  std::unique_ptr<Pieces> pieces_;
  std::vector<std::int64_t> ends_;              // of all pieces, in their order
  std::vector<std::vector<Segment>> segments_;  // by piece
  io::SideFile aside_;
};

}  // namespace espalier::jobs
