// Entries in any order become rows, without ever being in memory together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/matrix_source.hpp"
#include "io/side_file.hpp"
#include "jobs/rounds.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Goes through all entries of `source` once: every rank reads its part, sends the entries that are
// not zero to the rank that holds their row in one of `rounds`, and keeps what it receives in a
// side file in `folder`.
class EntrySorter {
 public:
  //   where    collective over `comm`
  //   throws   SharedError: what an entry stream throws, of the first part in which something is
  //            wrong; kBadData if there are more or fewer entries than the source says
  //   cost     20 bytes of disk an entry beyond the first 64 MiB a rank
  EntrySorter(const Comm& comm, const io::MatrixSource& source, const Rounds& rounds,
              const std::string& folder);

  // This rank's rows of a round.
  //   where    local
  //   throws   Error(kBadData) if a place stands there twice
  kernels::CsrRows read(std::int64_t round) const;

 private:
  struct Piece {
    std::int64_t position, entries;
  };
  void keep(std::vector<io::Entry>& entries);

  const io::MatrixSource& source_;
  Rounds rounds_;
  int rank_;
  io::SideFile file_;
  std::vector<std::vector<Piece>> pieces_;  // by round
};

}  // namespace espalier::jobs
