// What the first of two readings has in common: groups are measured in it, LAMP counts.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "jobs/job.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/unit_run.hpp"

namespace espalier::jobs {

// Reads rows of a layer, without zeros. Local.
//   returns  the CRC-32 of what was read, where it must not change until it is read again; else 0
using RowsRead = std::function<std::uint32_t(std::int64_t layer, Range rows, KeyedRows& found)>;

// Each piece, or each layer, is a unit of the run. Borrows everything.
class FirstReading {
 public:
  // What was read of a piece of this rank, as RowsRead has returned it; 0 of excluded layers.
  std::uint32_t crc(std::int64_t layer, std::int64_t round) const {
    return crcs_[static_cast<std::size_t>(pieces_.number(layer, round))];
  }

 protected:
  // `pass`: that of Pieces::items for this reading.
  FirstReading(Context& context, const Pruning& pruning, const Pieces& pieces, UnitRun& run,
               std::int64_t pass)
      : context_(context),
        pruning_(pruning),
        pieces_(pieces),
        run_(run),
        pass_(pass),
        crcs_(static_cast<std::size_t>(pieces.count())) {}

  Context& context_;
  const Pruning& pruning_;
  const Pieces& pieces_;
  UnitRun& run_;
  const std::int64_t pass_;
  KeyedRows found_;
  std::vector<std::uint32_t> crcs_;  // of this rank's pieces by number
};

}  // namespace espalier::jobs
