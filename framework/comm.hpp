// An owned MPI communicator and the dozen verbs espalier needs.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace espalier {

// What one rank sends to, or receives from, one other rank: `bytes` long, borrowed.
struct Outgoing {
  int rank;
  std::span<const std::byte> bytes;
};
struct Incoming {
  int rank;
  std::span<std::byte> bytes;
};

// A duplicated communicator, freed with the object; movable, not copyable.
// Every verb checks MPI's return code and throws Error(kSystem) (local) with MPI's own text.
// Messages of any size are sent; counts beyond 2^31 bytes are cut into pieces inside.
// All members but rank/ranks are collective: every rank of the communicator, in the same order.
class Comm {
 public:
  // Duplicates `comm`. Collective over it.
  explicit Comm(MPI_Comm comm);
  ~Comm();
  Comm(Comm&& other) noexcept;
  Comm& operator=(Comm&& other) noexcept;
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;

  int rank() const noexcept { return rank_; }
  int ranks() const noexcept { return ranks_; }
  MPI_Comm raw() const noexcept { return comm_; }

  // Ranks with the same `colour` (>= 0) form a new communicator, ordered by `key`.
  Comm split(int colour, int key) const;
  // The ranks that share this node's memory.
  Comm split_node() const;

  void barrier() const;

  // Copies `bytes` (the same length everywhere) from `root` to all.
  void broadcast(std::span<std::byte> bytes, int root) const;
  // Copies root's string, whatever its length.
  std::string broadcast_string(const std::string& on_root, int root) const;

  // Elementwise reductions, in place; spans of the same length on every rank.
  // Exact for integers. Floating-point sums are not offered: their bits would depend on ranks.
  void sum(std::span<std::int64_t> values) const;
  void min(std::span<std::int64_t> values) const;
  void max(std::span<std::int64_t> values) const;
  void max(std::span<double> values) const;
  void min(std::span<double> values) const;
  void bit_or(std::span<std::uint8_t> values) const;
  std::int64_t sum(std::int64_t value) const;
  std::int64_t max(std::int64_t value) const;
  // Sum of `value` over the ranks before this one.
  std::int64_t sum_before(std::int64_t value) const;

  // One value of every rank, in rank order.
  std::vector<std::int64_t> gather_all(std::int64_t value) const;
  // The bytes of every rank, in rank order, on every rank. Meant for small data.
  //   cost     one gather of lengths and one broadcast a rank
  std::vector<std::vector<std::byte>> gather_all_bytes(std::span<const std::byte> bytes) const;

  // Personalised all-to-all: `to_rank[r]` goes to rank r; returns what came, by source rank.
  //   cost     one message a pair of ranks with data, plus one all-to-all of counts
  std::vector<std::vector<std::byte>> exchange_all(
      const std::vector<std::vector<std::byte>>& to_rank) const;

  // Point-to-point halo exchange; both sides must list the same lengths. Empty pieces are skipped.
  // Several messages between two ranks match in the order of the lists.
  //   throws   BugError (local) if a message is shorter than the place for it
  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) const;

 private:
  Comm() = default;
  static Comm own(MPI_Comm comm);  // takes `comm` over instead of duplicating it
  void free() noexcept;

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int ranks_ = 1;
};

// Throws Error(kSystem) with MPI's text if `code` is not MPI_SUCCESS. `what` names the call.
void check_mpi(int code, const char* what);

}  // namespace espalier
