#include "jobs/entry_sorter.hpp"

#include <algorithm>
#include <exception>
#include <optional>
#include <span>

#include "framework/agree.hpp"

namespace espalier::jobs {
namespace {

using io::Entry;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kKeepAtATime = 1 << 20;  // entries

void append(Bytes& bytes, const Entry& entry) {
  const auto view = std::as_bytes(std::span(&entry, 1));
  bytes.insert(bytes.end(), view.begin(), view.end());
}

void append(std::vector<Entry>& entries, const Bytes& bytes) {
  const auto* first = reinterpret_cast<const Entry*>(bytes.data());
  entries.insert(entries.end(), first, first + bytes.size() / sizeof(Entry));
}

// One rank's part of the entries. What goes wrong is kept for later, so that the other parts are
// read to their ends and the message does not depend on who was faster.
class Part {
 public:
  Part(const io::MatrixSource& source, int part, int parts) {
    guard([&] { stream_ = source.entries(part, parts); });
  }
  // Entries without zeros; none at the end.
  std::vector<Entry> next() {
    std::vector<Entry> entries;
    guard([&] {
      more_ = more_ && stream_->read(entries);
      std::erase_if(entries, [](const Entry& entry) { return entry.value == 0; });
    });
    return entries;
  }
  bool more() const { return more_ && !failure_; }
  std::int64_t passed() const { return stream_ ? stream_->passed() : 0; }
  const std::optional<Failure>& failure() const { return failure_; }

 private:
  template <typename Work>
  void guard(Work&& work) {
    if (failure_) {
      return;
    }
    try {
      work();
    } catch (const std::exception& error) {
      failure_ = describe(error);
    }
  }
  std::unique_ptr<io::EntryStream> stream_;
  std::optional<Failure> failure_;
  bool more_ = true;
};

}  // namespace

EntrySorter::EntrySorter(const Comm& comm, const io::MatrixSource& source, const Rounds& rounds,
                         const std::string& folder)
    : source_(source), rounds_(rounds), rank_(comm.rank()), file_(folder) {
  pieces_.resize(static_cast<std::size_t>(rounds_.rounds()));
  Part part(source, comm.rank(), comm.ranks());
  std::vector<Entry> kept;
  for (bool more = true; more;) {
    std::vector<Entry> entries = part.next();
    if (comm.ranks() == 1) {
      kept.insert(kept.end(), entries.begin(), entries.end());
    } else {
      std::vector<Bytes> to_rank(static_cast<std::size_t>(comm.ranks()));
      for (const Entry& entry : entries) {
        append(to_rank[static_cast<std::size_t>(rounds_.rank_of(entry.row))], entry);
      }
      for (const Bytes& bytes : comm.exchange_all(to_rank)) {
        append(kept, bytes);
      }
    }
    more = comm.max(part.more() ? 1 : 0) > 0;
    locally(comm, "keeping entries", [&] {
      if (kept.size() >= kKeepAtATime || !more) {
        keep(kept);
      }
    });
  }
  agree(comm, "reading " + source.name, part.failure());
  const std::int64_t passed = comm.sum(part.passed());
  if (source.stored != passed) {
    throw SharedError(ExitStatus::kBadData,
                      text(source.name, ": there should be ", source.stored, " entries, found ",
                           passed, source.stored > passed ? ": the file is truncated" : ""));
  }
}

// Puts the entries of each round into the file in one piece.
void EntrySorter::keep(std::vector<Entry>& entries) {
  std::stable_sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    return rounds_.round_of(a.row) < rounds_.round_of(b.row);
  });
  for (std::size_t begin = 0, end = 0; begin < entries.size(); begin = end) {
    const std::int64_t round = rounds_.round_of(entries[begin].row);
    while (end < entries.size() && rounds_.round_of(entries[end].row) == round) {
      ++end;
    }
    const std::int64_t position =
        file_.append(std::as_bytes(std::span(entries).subspan(begin, end - begin)));
    pieces_[static_cast<std::size_t>(round)].push_back(
        {position, static_cast<std::int64_t>(end - begin)});
  }
  entries.clear();
}

kernels::CsrRows EntrySorter::read(std::int64_t round) const {
  const Range mine = rounds_.range(round, rank_);
  std::vector<Entry> entries;
  for (const Piece& piece : pieces_[static_cast<std::size_t>(round)]) {
    const std::size_t before = entries.size();
    entries.resize(before + static_cast<std::size_t>(piece.entries));
    file_.read(piece.position, std::as_writable_bytes(std::span(entries).subspan(before)));
  }
  kernels::CsrRows rows;
  rows.first_row = mine.begin;
  rows.cols = source_.cols;
  // Counting sort by row.
  std::vector<std::int64_t> next(static_cast<std::size_t>(mine.size()) + 1);
  for (const Entry& entry : entries) {
    ++next[static_cast<std::size_t>(entry.row - mine.begin) + 1];
  }
  for (std::size_t r = 1; r < next.size(); ++r) {
    next[r] += next[r - 1];
  }
  rows.pointers = next;
  rows.indices.resize(entries.size());
  rows.values.resize(entries.size());
  for (const Entry& entry : entries) {
    const auto k =
        static_cast<std::size_t>(next[static_cast<std::size_t>(entry.row - mine.begin)]++);
    rows.indices[k] = entry.col;
    rows.values[k] = entry.value;
  }
  io::tidy(source_, rows);
  return rows;
}

}  // namespace espalier::jobs
