#include "jobs/candidates.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "framework/agree.hpp"
#include "jobs/matrix_totals.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

std::int64_t bits_of(float value) { return std::bit_cast<std::int32_t>(value); }

// In front of a finished piece: then come pointers (rows + 1), indices (nnz), values (nnz, or 1 if
// iso and there is any), keys.
struct PieceHeader {
  std::int64_t rows, nnz, first_row, cols, iso;
  std::int64_t keys;       // as many as weights, or none
  double removed_squares;  // of what is not among the weights
};

template <typename T>
std::span<const std::byte> bytes_of(const T& values) {
  return std::as_bytes(std::span(values));
}

// `count` values off the front of a piece, where they lie.
template <typename T>
std::span<const T> take(std::span<const std::byte>& bytes, std::int64_t count) {
  expects(count >= 0 && count <= std::ssize(bytes) / std::int64_t{sizeof(T)},
          "a finished piece holds what its numbers say");
  const std::span<const T> values(reinterpret_cast<const T*>(bytes.data()), to_size(count));
  bytes = bytes.subspan(values.size_bytes());
  return values;
}

PieceHeader take_header(std::span<const std::byte>& bytes) {
  const PieceHeader header = take<PieceHeader>(bytes, 1)[0];
  expects(header.rows >= 0 && header.rows < std::ssize(bytes) && header.nnz >= 0 &&
              (header.keys == 0 || header.keys == header.nnz),
          "a finished piece has whole rows, and all keys or none");
  return header;
}

KeyedView view_of(std::span<const std::byte> bytes) {
  const PieceHeader header = take_header(bytes);
  KeyedView view;
  view.first_row = header.first_row;
  view.cols = header.cols;
  view.iso = header.iso != 0;
  view.pointers = take<std::int64_t>(bytes, header.rows + 1);
  expects(view.pointers.front() == 0 && view.pointers.back() == header.nnz &&
              std::is_sorted(view.pointers.begin(), view.pointers.end()),
          "the pointers of a finished piece ascend");
  view.indices = take<std::uint32_t>(bytes, header.nnz);
  view.values = take<float>(bytes, view.iso ? std::min(header.nnz, INT64_C(1)) : header.nnz);
  view.keys = take<std::uint32_t>(bytes, header.keys);
  return view;
}

// Copies what stays of rows.
template <typename Key>
void copy_above(const KeyedView& from, kernels::Cut cut, CsrRows& to, Key&& key) {
  to.pointers.assign(1, 0);
  to.indices.resize(from.indices.size());
  to.values.resize(from.values.size());
  std::size_t kept = 0;
  std::int64_t k = 0;
  for (std::size_t row = 1; row < from.pointers.size(); ++row) {
    for (; k < from.pointers[row]; ++k) {
      // Written in any case: nobody can foresee what stays.
      to.indices[kept] = from.indices[to_size(k)];
      if (!from.iso) {
        to.values[kept] = from.values[to_size(k)];
      }
      const std::uint32_t here = key(k);
      kept += here > cut.key || (here == cut.key && cut.equals-- > 0) ? 1 : 0;
    }
    to.pointers.push_back(static_cast<std::int64_t>(kept));
  }
  to.indices.resize(kept);
  if (from.iso) {
    std::copy(from.values.begin(), from.values.end(), to.values.begin());
  }
  to.values.resize(from.iso ? std::min(from.values.size(), kept) : kept);
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
  std::span<const std::byte> bytes = record_.look_at(piece.items, room_);
  piece.removed_squares = take_header(bytes).removed_squares;
  return true;
}

void Candidates::append(std::int64_t layer, std::int64_t round, const KeyedRows& keyed,
                        double removed_squares) {
  Piece& piece = mine_.at(to_size(pieces_.number(layer, round)));
  if (!piece.items.empty()) {
    piece.removed_squares = removed_squares;
    const CsrRows& rows = keyed.rows;
    const bool iso = rows.iso && rows.nnz() > 0;
    const std::vector<PieceHeader> header = {{rows.rows(), rows.nnz(), rows.first_row, rows.cols,
                                              iso ? 1 : 0, std::ssize(keyed.keys),
                                              removed_squares}};
    const auto values = std::span(rows.values).first(to_size(iso ? 1 : rows.nnz()));
    record_.add(piece.items, {bytes_of(header), bytes_of(rows.pointers), bytes_of(rows.indices),
                              bytes_of(values), bytes_of(keyed.keys)});
  }
}

KeyedView Candidates::look_at(const Piece& piece) const {
  return piece.items.empty() ? KeyedView() : view_of(record_.look_at(piece.items, room_));
}

void Candidates::visit(std::int64_t layer, std::int64_t round,
                       const std::function<void(const KeyedView&)>& use) const {
  use(look_at(mine_.at(to_size(pieces_.number(layer, round)))));
}

void Candidates::visit(std::int64_t layer, const std::function<void(const KeyedView&)>& use) const {
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    visit(layer, round, use);
  }
}

// Most weights are above the cut, hardly any at it.
Candidates::Tally Candidates::tally(const KeyedView& found, const LayerVerdict& verdict) {
  Tally tally;
  if (found.keys.empty() && !found.iso && !verdict.change) {
    const kernels::CutTally counted = kernels::tally_cut(found.values, verdict.cut.key);
    tally.above = counted.above;
    tally.equal = counted.equal;
    tally.below_squares = counted.below_squares;
    if (counted.above > 0) {
      tally.values = {counted.least_above, counted.most_above};
    }
    if (counted.equal == 0) {
      return tally;
    }
  }
  tally = {};
  for (std::int64_t k = 0; k < found.nnz(); ++k) {
    const std::uint32_t key = found.key(k);
    const float value = found.value(k);
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

void Candidates::Spread::add(float value) { add({bits_of(value), bits_of(value)}); }

void Candidates::Spread::add(const Spread& other) {
  low = std::min(low, other.low);
  high = std::max(high, other.high);
}

// The values of a piece that stay, where just a part of its equals does.
Candidates::Spread Candidates::spread_of(std::int64_t layer, const Piece& piece) const {
  Spread spread;
  for (const float value : decide(layer, piece, {}).values) {
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
      tallies[number] = tally(look_at(mine_[number]), verdicts_[to_size(layer)]);
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
        spread.add(found.equal_values);
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

CsrRows Candidates::decide(std::int64_t layer, const Piece& piece, CsrRows rows) const {
  const LayerVerdict& verdict = verdicts_[to_size(layer)];
  const KeyedView found = look_at(piece);
  const kernels::Cut cut{verdict.cut.key, piece.equals};
  rows.first_row = found.first_row;
  rows.cols = found.cols;
  rows.iso = found.iso;
  if (found.keys.empty() && !found.iso) {
    const float* values = found.values.data();
    copy_above(found, cut, rows,
               [values](std::int64_t k) { return kernels::magnitude_key(values[k]); });
  } else {
    copy_above(found, cut, rows, [&](std::int64_t k) { return found.key(k); });
  }
  if (verdict.change) {
    std::transform(rows.values.begin(), rows.values.end(), rows.values.begin(), verdict.change);
  }
  return rows;
}

CsrRows Candidates::read(std::int64_t layer, std::int64_t round, const LayerOutcome& outcome,
                         CsrRows reuse) const {
  CsrRows rows = decide(layer, mine_[to_size(pieces_.number(layer, round))], std::move(reuse));
  spell_values(rows, outcome.iso);
  return rows;
}

}  // namespace espalier::jobs
