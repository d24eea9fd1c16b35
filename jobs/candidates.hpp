// Weights that may stay, waiting until it is known which of them do.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "framework/comm.hpp"
#include "io/unit_record.hpp"
#include "jobs/pieces.hpp"
#include "jobs/weight_source.hpp"
#include "kernels/select.hpp"

namespace espalier::jobs {

// How the candidates of a layer are decided on. Layers with the same group share the equals of one
// cut, in the order of (layer, row, column).
struct LayerVerdict {
  std::int64_t group = -1;  // -1: everything stays
  kernels::Cut cut;
  std::function<float(float)> change;  // of a weight that stays, never to 0; may be empty
};

// How many of the equals to a cut stay in each of this rank's pieces.
//   shapes   equals and result by piece number: of this rank's pieces; verdicts by layer
//   where    collective over `comm`
std::vector<std::int64_t> share_equals(const Comm& comm, const Pieces& pieces,
                                       const std::vector<std::int64_t>& equals,
                                       const std::vector<LayerVerdict>& verdicts);

// Sums over the ranks, in rank order: for figures that people read.
//   where    collective over `comm`
std::vector<double> exchange_sums(const Comm& comm, const std::vector<double>& mine);

// What became of a layer, on all ranks.
struct LayerOutcome {
  std::int64_t kept = 0;
  double removed_squares = 0;  // sum of squares of what went; its last bits depend on ranks
  std::optional<float> iso;    // the one value of all that stay
};

// This rank's pieces, each a unit of the record.
class Candidates {
 public:
  // `pass`: that of Pieces::items under which they are kept at first. Borrows `pieces` and
  // `record`.
  Candidates(const Pieces& pieces, int rank, io::UnitRecord& record, std::int64_t pass);

  // Takes this rank's piece of (layer, round) from what is finished already; false if it is not.
  //   where    local
  bool take_finished(std::int64_t layer, std::int64_t round);
  // Puts it in. Any order, each once.
  //   where    local
  void append(std::int64_t layer, std::int64_t round, const KeyedRows& keyed,
              double removed_squares);

  // Drops what has been put in of a layer; what follows is kept under another pass.
  //   where    local; all ranks do it
  void start_anew(std::int64_t layer, std::int64_t pass);
  std::int64_t pass(std::int64_t layer) const { return passes_[static_cast<std::size_t>(layer)]; }

  // Looks at what has been put in of a layer, not yet decided on.
  //   where    local
  void visit(std::int64_t layer, const std::function<void(const KeyedView&)>& use) const;
  void visit(std::int64_t layer, std::int64_t round,
             const std::function<void(const KeyedView&)>& use) const;

  // Decides on everything, once.
  //   where    collective over `comm`; counts are all that is exchanged
  //   exact    independent of ranks and pieces, removed_squares excepted
  std::vector<LayerOutcome> settle(const Comm& comm, std::vector<LayerVerdict> verdicts);

  // What stays of a piece, once all is settled; values spelled as `outcomes` say.
  //   where    local
  // `reuse` gives its memory.
  kernels::CsrRows read(std::int64_t layer, std::int64_t round, const LayerOutcome& outcome,
                        kernels::CsrRows reuse = {}) const;

 private:
  struct Piece {
    Range items;
    double removed_squares = 0;
    std::int64_t equals = 0;  // how many of those equal to the cut stay
  };
  // Least and largest of some values, as bits.
  struct Spread {
    std::int64_t low = INT64_C(1) << 32, high = -low;
    void add(float value);
    void add(const Spread& other);
  };
  // What a piece holds above and at the cut.
  struct Tally {
    std::int64_t above = 0, equal = 0;
    Spread values, equal_values;
    double below_squares = 0, equal_squares = 0;
  };

  KeyedView look_at(const Piece& piece) const;
  static Tally tally(const KeyedView& found, const LayerVerdict& verdict);
  Spread spread_of(std::int64_t layer, const Piece& piece) const;
  kernels::CsrRows decide(std::int64_t layer, const Piece& piece, kernels::CsrRows rows) const;
  template <typename Use>
  void for_each_piece(Use&& use) const {
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        use(layer, round, static_cast<std::size_t>(pieces_.number(layer, round)));
      }
    }
  }

  const Pieces& pieces_;
  int rank_;
  io::UnitRecord& record_;
  std::vector<std::int64_t> passes_;  // by layer
  std::vector<Piece> mine_;           // by number
  std::vector<LayerVerdict> verdicts_;
  mutable std::vector<std::byte> room_;  // of a piece that is read from the disk
};

}  // namespace espalier::jobs
