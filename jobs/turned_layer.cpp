#include "jobs/turned_layer.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "framework/agree.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

TurnedLayer::TurnedLayer(const Comm& comm, const io::NetworkReader& reader, std::int64_t layer,
                         const PieceMemory& memory, const std::string& folder, std::int64_t step)
    : comm_(comm),
      reader_(reader),
      layer_(layer),
      matrix_(reader.network().layers.at(to_size(layer)).weight),
      by_columns_(matrix_.format == io::MatrixFormat::kCsc),
      lines_(by_columns_ ? matrix_.rows : matrix_.cols),
      width_(by_columns_ ? matrix_.cols : matrix_.rows),
      piece_entries_(memory.piece_entries / 2),
      aside_(folder, memory.kept_bytes) {
  locally(comm, "dealing a layer's weights", [&] {
    const auto bounds =
        split_by_nnz(width_, comm.ranks(), [&](std::int64_t line) { return stored_before(line); });
    mine_ = {bounds[to_size(comm.rank())], bounds[to_size(comm.rank()) + 1]};
  });
  count(memory, step);
  locally(comm, "turning a layer",
          [&] { for_each_piece([&](const CsrRows& rows) { set_aside(rows); }); });
}

std::int64_t TurnedLayer::stored_before(std::int64_t line) const {
  return by_columns_ ? io::nnz_before_column(reader_.data(), matrix_, line)
                     : reader_.nnz_before(layer_, line);
}

template <typename Use>
void TurnedLayer::for_each_piece(Use&& use) const {
  CsrRows rows;
  for (std::int64_t begin = mine_.begin; begin < mine_.end;) {
    // As many lines as fit, at least one.
    const std::int64_t limit = stored_before(begin) + piece_entries_;
    std::int64_t end = begin + 1, beyond = mine_.end + 1;
    while (beyond - end > 1) {
      const std::int64_t middle = end + (beyond - end) / 2;
      (stored_before(middle) <= limit ? end : beyond) = middle;
    }
    rows = by_columns_ ? io::read_columns(reader_.data(), matrix_, {begin, end}, std::move(rows))
                       : reader_.read_rows(layer_, {begin, end}, std::move(rows));
    use(rows);
    begin = end;
  }
}

// Counts the weights of each line, and divides the lines into pieces.
void TurnedLayer::count(const PieceMemory& memory, std::int64_t step) {
  std::vector<std::int64_t> before(to_size(lines_) + 1, 0);
  locally(comm_, "counting a layer's weights", [&] {
    for_each_piece([&](const CsrRows& rows) {
      for (const std::uint32_t line : rows.indices) {
        ++before[line + std::size_t{1}];
      }
    });
  });
  comm_.sum(before);
  std::partial_sum(before.begin(), before.end(), before.begin());
  locally(comm_, "planning", [&] {
    io::Network turned;
    turned.layers.resize(1);
    turned.layers[0].name = reader_.network().layers[to_size(layer_)].name;
    turned.layers[0].weight.rows = lines_;
    pieces_ = std::make_unique<Pieces>(
        turned, comm_.ranks(), memory,
        [&](std::int64_t, std::int64_t line) { return before[to_size(line)]; }, PieceCut{step, {}});
    for (std::int64_t round = 0; round < pieces_->rounds(0); ++round) {
      for (int rank = 0; rank < comm_.ranks(); ++rank) {
        ends_.push_back(pieces_->rows(0, round, rank).end);
      }
    }
    segments_.resize(ends_.size());
  });
}

// Sorts the weights by the pieces they belong to.
void TurnedLayer::set_aside(const CsrRows& rows) {
  const auto piece_of = [&](std::uint32_t line) {
    return static_cast<std::size_t>(
        std::upper_bound(ends_.begin(), ends_.end(), static_cast<std::int64_t>(line)) -
        ends_.begin());
  };
  std::vector<std::int64_t> places(ends_.size() + 1, 0);
  for (const std::uint32_t line : rows.indices) {
    ++places[piece_of(line) + 1];
  }
  std::partial_sum(places.begin(), places.end(), places.begin());
  std::vector<Entry> sorted(rows.indices.size());
  std::vector<std::int64_t> next = places;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const auto across = static_cast<std::uint32_t>(rows.first_row + row);
    for (auto k = rows.pointers[to_size(row)]; k < rows.pointers[to_size(row) + 1]; ++k) {
      const std::uint32_t line = rows.indices[to_size(k)];
      sorted[to_size(next[piece_of(line)]++)] = {line, across, rows.value(k)};
    }
  }
  for (std::size_t piece = 0; piece < ends_.size(); ++piece) {
    const std::int64_t count = places[piece + 1] - places[piece];
    if (count > 0) {
      const auto entries = std::span(sorted).subspan(to_size(places[piece]), to_size(count));
      segments_[piece].push_back({aside_.append(std::as_bytes(entries)), count});
    }
  }
}

std::vector<std::byte> TurnedLayer::fetch(std::size_t piece) const {
  std::int64_t count = 0;
  for (const Segment& segment : segments_[piece]) {
    count += segment.count;
  }
  std::vector<std::byte> bytes(to_size(count) * sizeof(Entry));
  auto place = std::span(bytes);
  for (const Segment& segment : segments_[piece]) {
    const std::size_t length = to_size(segment.count) * sizeof(Entry);
    aside_.read(segment.position, place.first(length));
    place = place.subspan(length);
  }
  return bytes;
}

// Ranks, and what each of them has set aside, are in the order of `across`.
CsrRows TurnedLayer::sort(const std::vector<std::vector<std::byte>>& parts, Range lines) const {
  const auto for_each_entry = [&](auto&& use) {
    for (const auto& part : parts) {
      for (std::size_t at = 0; at < part.size(); at += sizeof(Entry)) {
        Entry entry{};
        std::memcpy(&entry, part.data() + at, sizeof(Entry));
        use(entry);
      }
    }
  };
  CsrRows sorted;
  sorted.first_row = lines.begin;
  sorted.cols = width_;
  sorted.pointers.assign(to_size(lines.size()) + 1, 0);
  for_each_entry(
      [&](const Entry& entry) { ++sorted.pointers.at(to_size(entry.line - lines.begin) + 1); });
  std::partial_sum(sorted.pointers.begin(), sorted.pointers.end(), sorted.pointers.begin());
  sorted.indices.resize(to_size(sorted.nnz()));
  sorted.values.resize(to_size(sorted.nnz()));
  std::vector<std::int64_t> next(sorted.pointers.begin(), sorted.pointers.end() - 1);
  for_each_entry([&](const Entry& entry) {
    const auto place = to_size(next[to_size(entry.line - lines.begin)]++);
    sorted.indices[place] = entry.across;
    sorted.values[place] = entry.value;
  });
  return sorted;
}

CsrRows TurnedLayer::exchange_lines(std::int64_t round) const {
  auto to_rank = locally(comm_, "fetching a layer's weights", [&] {
    std::vector<std::vector<std::byte>> bytes;
    for (int rank = 0; rank < comm_.ranks(); ++rank) {
      bytes.push_back(fetch(to_size(round * comm_.ranks() + rank)));
    }
    return bytes;
  });
  const auto parts = comm_.exchange_all(to_rank);
  to_rank.clear();
  return locally(comm_, "sorting a layer's weights",
                 [&] { return sort(parts, pieces_->rows(0, round, comm_.rank())); });
}

}  // namespace espalier::jobs
