#include "jobs/candidates.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "framework/agree.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/unit_bytes.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

std::int64_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

// A finished piece: its rows, the keys (as many as weights, or none) behind their number, the sum
// of squares of what is not among them.
struct Finished {
  KeyedRows keyed;
  double removed_squares = 0;
};

std::vector<std::byte> pack_piece(const KeyedRows& keyed, double removed_squares) {
  std::vector<std::byte> bytes;
  put_rows(bytes, keyed.rows);
  put_array(bytes, std::vector<std::int64_t>{std::ssize(keyed.keys)});
  put_array(bytes, keyed.keys);
  put_array(bytes, std::vector<double>{removed_squares});
  return bytes;
}

Finished unpack_piece(std::span<const std::byte> bytes) {
  Finished piece;
  piece.keyed.rows = take_rows(bytes);
  piece.keyed.keys = take_array<std::uint32_t>(bytes, take_array<std::int64_t>(bytes, 1)[0]);
  expects(piece.keyed.keys.empty() || std::ssize(piece.keyed.keys) == piece.keyed.rows.nnz(),
          "each weight has a key, or none has");
  piece.removed_squares = take_array<double>(bytes, 1)[0];
  return piece;
}

}  // namespace

std::vector<double> exchange_sums(const Comm& comm, const std::vector<double>& mine) {
  std::vector<double> sums(mine.size(), 0);
  for (const auto& bytes : comm.gather_all_bytes(std::as_bytes(std::span(mine)))) {
    std::vector<double> part(mine.size());
    std::memcpy(part.data(), bytes.data(), bytes.size());
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i] += part[i];
    }
  }
  return sums;
}

std::vector<std::int64_t> share_equals(const Comm& comm, const Pieces& pieces,
                                       const std::vector<std::int64_t>& equals,
                                       const std::vector<LayerVerdict>& verdicts) {
  const auto ranks = to_size(comm.ranks());
  std::vector<std::int64_t> all(equals.size() * ranks, 0);
  for (std::size_t number = 0; number < equals.size(); ++number) {
    all[number * ranks + to_size(comm.rank())] = equals[number];
  }
  comm.sum(all);
  std::vector<std::int64_t> stay(equals.size(), 0);
  std::map<std::int64_t, std::int64_t> left;  // by group
  for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
    const LayerVerdict& verdict = verdicts[to_size(layer)];
    std::int64_t& remaining = left.emplace(verdict.group, verdict.cut.equals).first->second;
    for (std::int64_t round = 0; round < pieces.rounds(layer); ++round) {
      const auto number = to_size(pieces.number(layer, round));
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        const std::int64_t equal = all[number * ranks + rank];
        const std::int64_t taken = verdict.group < 0 ? equal : std::min(remaining, equal);
        remaining -= taken;
        if (rank == to_size(comm.rank())) {
          stay[number] = taken;
        }
      }
    }
  }
  return stay;
}

Candidates::Candidates(const Pieces& pieces, int rank, io::UnitRecord& record, std::int64_t pass)
    : pieces_(pieces),
      rank_(rank),
      record_(record),
      passes_(to_size(pieces.layers())),
      mine_(to_size(pieces.count())) {
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    start_anew(layer, pass);
  }
}

void Candidates::start_anew(std::int64_t layer, std::int64_t pass) {
  passes_[to_size(layer)] = pass;
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    mine_[to_size(pieces_.number(layer, round))] = {
        pieces_.items(pass, layer, pieces_.rows(layer, round, rank_)), 0, 0};
  }
}

bool Candidates::take_finished(std::int64_t layer, std::int64_t round) {
  Piece& piece = mine_.at(to_size(pieces_.number(layer, round)));
  if (piece.items.empty()) {
    return true;
  }
  if (!record_.has(piece.items)) {
    return false;
  }
  piece.removed_squares = unpack_piece(record_.read_whole(piece.items)).removed_squares;
  return true;
}

void Candidates::append(std::int64_t layer, std::int64_t round, const KeyedRows& keyed,
                        double removed_squares) {
  Piece& piece = mine_.at(to_size(pieces_.number(layer, round)));
  if (!piece.items.empty()) {
    piece.removed_squares = removed_squares;
    record_.add(piece.items, pack_piece(keyed, removed_squares));
  }
}

KeyedRows Candidates::fetch(const Piece& piece) const {
  return piece.items.empty() ? KeyedRows() : unpack_piece(record_.read_whole(piece.items)).keyed;
}

KeyedRows Candidates::fetch(std::int64_t layer, std::int64_t round) const {
  return fetch(mine_[to_size(pieces_.number(layer, round))]);
}

void Candidates::visit(std::int64_t layer, const std::function<void(const KeyedRows&)>& use) const {
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    use(fetch(mine_.at(to_size(pieces_.number(layer, round)))));
  }
}

Candidates::Tally Candidates::tally(const KeyedRows& keyed, const LayerVerdict& verdict) {
  Tally tally;
  for (std::int64_t k = 0; k < keyed.rows.nnz(); ++k) {
    const std::uint32_t key = keyed.key(k);
    const float value = keyed.rows.value(k);
    if (key > verdict.cut.key) {
      ++tally.above;
      tally.values.add(verdict.change ? verdict.change(value) : value);
    } else {
      const double square = static_cast<double>(value) * static_cast<double>(value);
      if (key == verdict.cut.key) {
        ++tally.equal;
        tally.equal_values.add(verdict.change ? verdict.change(value) : value);
        tally.equal_squares += square;
      } else {
        tally.below_squares += square;
      }
    }
  }
  return tally;
}

void Candidates::Spread::add(float value) {
  low = std::min(low, bits_of(value));
  high = std::max(high, bits_of(value));
}

// The values of a piece that stay, where just a part of its equals does.
Candidates::Spread Candidates::spread_of(std::int64_t layer, const Piece& piece) const {
  Spread spread;
  for (const float value : decide(layer, piece).values) {
    spread.add(value);
  }
  return spread;
}

std::vector<LayerOutcome> Candidates::settle(const Comm& comm, std::vector<LayerVerdict> verdicts) {
  verdicts_ = std::move(verdicts);
  std::vector<Tally> tallies(mine_.size());
  locally(comm, "counting candidates", [&] {
    expects(std::ssize(verdicts_) == pieces_.layers(), "each layer has a verdict");
    for_each_piece([&](std::int64_t layer, std::int64_t, std::size_t number) {
      tallies[number] = tally(fetch(mine_[number]), verdicts_[to_size(layer)]);
    });
  });
  std::vector<std::int64_t> equals;
  for (const Tally& tally : tallies) {
    equals.push_back(tally.equal);
  }
  equals = share_equals(comm, pieces_, equals, verdicts_);
  for (std::size_t number = 0; number < mine_.size(); ++number) {
    mine_[number].equals = equals[number];
  }

  const auto layers = to_size(pieces_.layers());
  std::vector<std::int64_t> kept(layers, 0), low(layers, Spread{}.low), high(layers, Spread{}.high);
  std::vector<double> squares(layers, 0);
  locally(comm, "deciding on candidates", [&] {
    for_each_piece([&](std::int64_t layer, std::int64_t, std::size_t number) {
      const Piece& piece = mine_[number];
      const Tally& found = tallies[number];
      const auto id = to_size(layer);
      kept[id] += found.above + piece.equals;
      squares[id] += piece.removed_squares + found.below_squares;
      Spread spread = found.values;
      if (piece.equals == found.equal) {
        spread.low = std::min(spread.low, found.equal_values.low);
        spread.high = std::max(spread.high, found.equal_values.high);
      } else {
        squares[id] += found.equal_squares * static_cast<double>(found.equal - piece.equals) /
                       static_cast<double>(found.equal);
        spread = piece.equals > 0 ? spread_of(layer, piece) : spread;
      }
      low[id] = std::min(low[id], spread.low);
      high[id] = std::max(high[id], spread.high);
    });
  });
  comm.sum(kept);
  comm.min(low);
  comm.max(high);
  squares = exchange_sums(comm, squares);

  std::vector<LayerOutcome> outcomes(layers);
  for (std::size_t id = 0; id < layers; ++id) {
    outcomes[id] = {kept[id], squares[id], std::nullopt};
    if (low[id] == high[id]) {
      outcomes[id].iso = std::bit_cast<float>(static_cast<std::uint32_t>(low[id]));
    }
  }
  return outcomes;
}

kernels::CsrRows Candidates::decide(std::int64_t layer, const Piece& piece) const {
  const LayerVerdict& verdict = verdicts_[to_size(layer)];
  KeyedRows keyed = fetch(piece);
  if (keyed.keys.empty()) {
    keyed.keys = kernels::magnitude_keys(keyed.rows);
  }
  kernels::keep_above(keyed.rows, keyed.keys, {verdict.cut.key, piece.equals});
  if (verdict.change) {
    std::transform(keyed.rows.values.begin(), keyed.rows.values.end(), keyed.rows.values.begin(),
                   verdict.change);
  }
  return std::move(keyed.rows);
}

kernels::CsrRows Candidates::read(std::int64_t layer, std::int64_t round,
                                  const LayerOutcome& outcome) const {
  kernels::CsrRows rows = decide(layer, mine_[to_size(pieces_.number(layer, round))]);
  spell_values(rows, outcome.iso);
  return rows;
}

}  // namespace espalier::jobs
