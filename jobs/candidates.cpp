#include "jobs/candidates.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "framework/agree.hpp"
#include "jobs/row_spool.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

std::int64_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

template <typename T>
void fetch_array(const io::SideFile& file, std::int64_t& position, std::int64_t count,
                 std::vector<T>& into) {
  into.resize(to_size(count));
  const auto bytes = std::as_writable_bytes(std::span(into));
  file.read(position, bytes);
  position += std::ssize(bytes);
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

Candidates::Candidates(const Pieces& pieces, const std::string& folder, std::int64_t kept_bytes)
    : pieces_(pieces), file_(folder, kept_bytes), mine_(to_size(pieces.count())) {}

void Candidates::append(std::int64_t layer, std::int64_t round, const KeyedRows& keyed,
                        double removed_squares) {
  Piece& piece = mine_.at(to_size(pieces_.number(layer, round)));
  piece.rows = keyed.rows.rows();
  piece.nnz = keyed.rows.nnz();
  piece.keys = std::ssize(keyed.keys);
  piece.first_row = keyed.rows.first_row;
  piece.cols = keyed.rows.cols;
  piece.iso = keyed.rows.iso && keyed.rows.nnz() > 0;
  piece.removed_squares = removed_squares;
  piece.position = file_.append(std::as_bytes(std::span(keyed.rows.pointers)));
  file_.append(std::as_bytes(std::span(keyed.rows.indices)));
  const auto values = std::span(keyed.rows.values).first(to_size(piece.iso ? 1 : piece.nnz));
  file_.append(std::as_bytes(values));
  file_.append(std::as_bytes(std::span(keyed.keys)));
}

KeyedRows Candidates::fetch(const Piece& piece) const {
  KeyedRows keyed;
  keyed.rows.first_row = piece.first_row;
  keyed.rows.cols = piece.cols;
  keyed.rows.iso = piece.iso;
  std::int64_t position = piece.position;
  fetch_array(file_, position, piece.rows + 1, keyed.rows.pointers);
  fetch_array(file_, position, piece.nnz, keyed.rows.indices);
  fetch_array(file_, position, piece.iso ? 1 : piece.nnz, keyed.rows.values);
  fetch_array(file_, position, piece.keys, keyed.keys);
  return keyed;
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
    for_each_piece([&](std::int64_t layer, std::size_t number) {
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
    for_each_piece([&](std::int64_t layer, std::size_t number) {
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
