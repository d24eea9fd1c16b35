#include "io/graphchallenge.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <span>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/memory.hpp"
#include "io/tidy_rows.hpp"
#include "io/triplet_lines.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kLargestIndex = std::numeric_limits<std::uint32_t>::max();

// Triplets by the rank that parsed them; on one rank they are not copied.
struct Dealt {
  std::vector<Triplet> own;
  std::vector<std::vector<std::byte>> received;
  std::vector<std::span<const Triplet>> by_rank;
};

// Calls take(triplet, owner of its row) for each one.
template <typename Take>
void for_each_owner(std::span<const Triplet> triplets, std::int64_t rows, int ranks, Take take) {
  // Neighbouring lines mostly have the same owner.
  Range owned;
  int owner = 0;
  for (const Triplet& triplet : triplets) {
    if (triplet.row < owned.begin || triplet.row >= owned.end) {
      owner = owner_evenly(rows, ranks, triplet.row);
      owned = split_evenly(rows, ranks, owner);
    }
    take(triplet, static_cast<std::size_t>(owner));
  }
}

std::vector<std::vector<std::byte>> bucket_by_owner(std::span<const Triplet> triplets,
                                                    std::int64_t rows, int ranks) {
  std::vector<std::size_t> counts(static_cast<std::size_t>(ranks));
  for_each_owner(triplets, rows, ranks, [&](const Triplet&, std::size_t rank) { ++counts[rank]; });
  std::vector<std::vector<std::byte>> to_rank(counts.size());
  for (std::size_t rank = 0; rank < counts.size(); ++rank) {
    to_rank[rank].reserve(counts[rank] * sizeof(Triplet));
  }
  for_each_owner(triplets, rows, ranks, [&](const Triplet& triplet, std::size_t rank) {
    const auto bytes = std::as_bytes(std::span(&triplet, 1));
    to_rank[rank].insert(to_rank[rank].end(), bytes.begin(), bytes.end());
  });
  return to_rank;
}

// Sends each triplet to the owner of its row.
Dealt exchange_triplets(const Comm& comm, std::vector<Triplet> triplets, std::int64_t rows) {
  Dealt dealt;
  if (comm.ranks() == 1) {
    dealt.own = std::move(triplets);
    dealt.by_rank = {dealt.own};
    return dealt;
  }
  auto outgoing = locally(comm, "dealing triplets", [&] {
    auto to_rank = bucket_by_owner(triplets, rows, comm.ranks());
    triplets = {};
    return to_rank;
  });
  dealt.received = comm.exchange_all(outgoing);
  outgoing.clear();
  for (const auto& bytes : dealt.received) {
    dealt.by_rank.emplace_back(reinterpret_cast<const Triplet*>(bytes.data()),
                               bytes.size() / sizeof(Triplet));
  }
  return dealt;
}

struct Sorted {
  kernels::CsrRows rows;
  bool repeats = false;  // a pair stands there twice
};

// Counting sort by row, then each row by column where it is not in order already.
Sorted sort_into_rows(const Dealt& dealt, Range mine, std::int64_t cols) {
  Sorted sorted;
  kernels::CsrRows& rows = sorted.rows;
  rows.first_row = mine.begin;
  rows.cols = cols;
  std::vector<std::int64_t> next(static_cast<std::size_t>(mine.size()) + 1);
  for (const auto& triplets : dealt.by_rank) {
    for (const Triplet& triplet : triplets) {
      ++next[static_cast<std::size_t>(triplet.row - mine.begin) + 1];
    }
  }
  for (std::size_t r = 1; r < next.size(); ++r) {
    next[r] += next[r - 1];
  }
  rows.pointers = next;
  rows.indices.resize(static_cast<std::size_t>(rows.nnz()));
  rows.values.resize(rows.indices.size());
  for (const auto& triplets : dealt.by_rank) {
    for (const Triplet& triplet : triplets) {
      const auto k =
          static_cast<std::size_t>(next[static_cast<std::size_t>(triplet.row - mine.begin)]++);
      rows.indices[k] = triplet.col;
      rows.values[k] = triplet.value;
    }
  }
  sorted.repeats = !sort_rows(rows);
  return sorted;
}

void keep_one_of_equal_values(kernels::CsrRows& rows) {
  const auto differs = [&](float value) {
    return std::bit_cast<std::uint32_t>(value) != std::bit_cast<std::uint32_t>(rows.values[0]);
  };
  if (!rows.values.empty() && std::none_of(rows.values.begin(), rows.values.end(), differs)) {
    rows.iso = true;
    rows.values = {rows.values[0]};
  }
}

// The earliest line that repeats the pair of another line; `line` is INT64_MAX if there is none.
struct Repeat {
  std::int64_t line = std::numeric_limits<std::int64_t>::max();
  std::int64_t earlier = 0;
  std::uint32_t row = 0, col = 0;
};

Repeat find_repeat(const Dealt& dealt, const TripletLines& parsed) {
  std::vector<Repeat> lines;
  for (std::size_t rank = 0; rank < dealt.by_rank.size(); ++rank) {
    for (const Triplet& triplet : dealt.by_rank[rank]) {
      lines.push_back({parsed.number_of(rank, triplet.line), 0, triplet.row, triplet.col});
    }
  }
  const auto place = [](const Repeat& a) { return std::array{a.row, a.col}; };
  std::sort(lines.begin(), lines.end(), [&](const Repeat& a, const Repeat& b) {
    return std::pair(place(a), a.line) < std::pair(place(b), b.line);
  });
  Repeat first;
  for (std::size_t k = 1; k < lines.size(); ++k) {
    if (place(lines[k]) == place(lines[k - 1]) && lines[k].line < first.line) {
      first = lines[k];
      first.earlier = lines[k - 1].line;
    }
  }
  return first;
}

// Refuses pairs that stand in the file twice, on all ranks with the same words.
void refuse_repeats(const Comm& comm, const TripletForm& form, const Repeat& mine) {
  const auto all = comm.gather_all(mine.line);
  const auto least = std::min_element(all.begin(), all.end());
  if (*least == std::numeric_limits<std::int64_t>::max()) {
    return;
  }
  const std::int64_t i = std::int64_t{form.row_field == 0 ? mine.row : mine.col} + 1;
  const std::int64_t j = std::int64_t{form.row_field == 0 ? mine.col : mine.row} + 1;
  const std::string what = comm.broadcast_string(
      text(at_line(form.path, mine.line), form.names[0], " ", i, " and ", form.names[1], " ", j,
           " stand on line ", mine.earlier, " already, right is each pair once"),
      static_cast<int>(least - all.begin()));
  throw SharedError(ExitStatus::kBadData, what, comm.rank(), comm.ranks());
}

// The rows of this rank from the triplets of all.
kernels::CsrRows gather_rows(const Comm& comm, const TripletForm& form, TripletLines lines,
                             std::int64_t rows) {
  const Range mine = split_evenly(rows, comm.ranks(), comm.rank());
  const std::int64_t cols = form.limits[form.row_field == 0 ? 1 : 0];
  const Dealt dealt = exchange_triplets(comm, std::move(lines.triplets), rows);
  Repeat repeat;
  Sorted sorted = locally(comm, "sorting " + form.path, [&] {
    Sorted result = sort_into_rows(dealt, mine, cols);
    if (result.repeats) {
      repeat = find_repeat(dealt, lines);
    }
    leave_out_zeros(result.rows);
    keep_one_of_equal_values(result.rows);
    return result;
  });
  refuse_repeats(comm, form, repeat);
  return std::move(sorted.rows);
}

void check_neurons(std::int64_t neurons) {
  expects(neurons >= 1 && neurons <= kLargestIndex, "1 <= neurons < 2^32");
}

// A single odd line must not make us ask for memory without end.
void check_samples_fit(const Comm& comm, const std::string& file, std::int64_t samples) {
  locally(comm, "reading " + file, [&] {
    const std::int64_t bytes = samples / comm.ranks() * 16;
    if (bytes > usable_memory_bytes() / 2) {
      throw Error(ExitStatus::kDoesNotFit,
                  text(file, ": its largest sample number is ", samples,
                       ", too many samples for the memory of ", comm.ranks(),
                       comm.ranks() == 1 ? " rank" : " ranks",
                       "; if it is right, use more ranks or nodes"));
    }
  });
}

}  // namespace

std::optional<float> challenge_bias(std::int64_t neurons) {
  switch (neurons) {
    case 1024:
      return -0.30F;
    case 4096:
      return -0.35F;
    case 16384:
      return -0.40F;
    case 65536:
      return -0.45F;
    default:
      return std::nullopt;
  }
}

std::string challenge_layer_file(const std::string& folder, std::int64_t neurons,
                                 std::int64_t layer) {
  const std::string name = text("n", neurons, "-l", layer, ".tsv");
  const std::string direct = text(folder, "/", name);
  const std::string below = text(folder, "/neuron", neurons, "/", name);
  struct stat status {};
  const bool only_below =
      ::stat(direct.c_str(), &status) != 0 && ::stat(below.c_str(), &status) == 0;
  return only_below ? below : direct;
}

kernels::CsrRows read_challenge_layer(const Comm& comm, const std::string& file,
                                      std::int64_t neurons) {
  check_neurons(neurons);
  const TripletForm form{file, {"input", "output", "weight"}, {neurons, neurons}, 1};
  return gather_rows(comm, form, read_triplet_lines(comm, form), neurons);
}

ChallengeFeatures read_challenge_features(const Comm& comm, const std::string& file,
                                          std::int64_t neurons, std::optional<std::int64_t> samples,
                                          const TripletPieces& pieces) {
  check_neurons(neurons);
  expects(samples.value_or(1) <= kLargestIndex, "samples < 2^32");
  const TripletForm form{
      file, {"sample", "feature", "value"}, {samples.value_or(kLargestIndex), neurons}, 0};
  TripletLines lines = read_triplet_lines(comm, form, pieces);
  ChallengeFeatures features;
  if (samples) {
    features.samples = *samples;
  } else {
    std::int64_t largest = 0;
    for (const Triplet& triplet : lines.triplets) {
      largest = std::max(largest, std::int64_t{triplet.row} + 1);
    }
    features.samples = comm.max(largest);
    check_samples_fit(comm, file, features.samples);
  }
  features.rows = gather_rows(comm, form, std::move(lines), features.samples);
  return features;
}

}  // namespace espalier::io
