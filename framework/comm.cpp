#include "framework/comm.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string_view>
#include <utility>

#include "framework/error.hpp"
#include "framework/pieces.hpp"

namespace espalier {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 30;
constexpr std::size_t kPieceCount = kPieceBytes / sizeof(std::int64_t);
constexpr int kTag = 1;

template <typename T>
void reduce(std::span<T> values, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
  for_each_piece(values.size(), kPieceCount, [&](std::size_t offset, std::size_t length) {
    check_mpi(
        MPI_Allreduce(MPI_IN_PLACE, values.data() + offset, narrow<int>(length), type, op, comm),
        "MPI_Allreduce");
  });
}

// Copies what this rank sends to itself; the k-th message out is the k-th message in.
void copy_to_self(std::span<const Outgoing> out, std::span<const Incoming> in, int self) {
  const auto from_self = [self](const Incoming& message) {
    return message.rank == self && !message.bytes.empty();
  };
  auto place = std::find_if(in.begin(), in.end(), from_self);
  for (const Outgoing& message : out) {
    if (message.rank != self || message.bytes.empty()) {
      continue;
    }
    expects(place != in.end() && place->bytes.size() == message.bytes.size(),
            "a rank's messages to itself have a place of their length");
    std::memmove(place->bytes.data(), message.bytes.data(), message.bytes.size());
    place = std::find_if(std::next(place), in.end(), from_self);
  }
  expects(place == in.end(), "every place for a message from the rank itself is filled");
}

template <typename Messages>
std::size_t pieces_of_others(const Messages& messages, int self) {
  std::size_t pieces = 0;
  for (const auto& message : messages) {
    pieces += message.rank == self ? 0 : piece_count(message.bytes.size(), kPieceBytes);
  }
  return pieces;
}

// The point-to-point messages under way in one exchange.
class Pending {
 public:
  // All memory is taken up front: a failure to allocate must not leave messages under way.
  Pending(std::size_t receives, std::size_t sends) : requests_(receives + sends, MPI_REQUEST_NULL) {
    lengths_.reserve(receives);
  }

  void receive(const Incoming& message, MPI_Comm comm) {
    for_each_piece(message.bytes.size(), kPieceBytes, [&](std::size_t offset, std::size_t length) {
      lengths_.push_back(static_cast<int>(length));
      check_mpi(MPI_Irecv(message.bytes.data() + offset, static_cast<int>(length), MPI_BYTE,
                          message.rank, kTag, comm, &requests_[next_++]),
                "MPI_Irecv");
    });
  }

  void send(const Outgoing& message, MPI_Comm comm) {
    for_each_piece(message.bytes.size(), kPieceBytes, [&](std::size_t offset, std::size_t length) {
      check_mpi(MPI_Isend(message.bytes.data() + offset, static_cast<int>(length), MPI_BYTE,
                          message.rank, kTag, comm, &requests_[next_++]),
                "MPI_Isend");
    });
  }

  // One by one: MPI_Waitall of Open MPI 4.1 never returns if a receive had failed before the call.
  void wait() {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      MPI_Status status;
      check_mpi(MPI_Wait(&requests_[i], &status), "MPI_Wait");
      if (i < lengths_.size()) {
        int received = 0;
        check_mpi(MPI_Get_count(&status, MPI_BYTE, &received), "MPI_Get_count");
        expects(received == lengths_[i], "a message is as long as the place for it");
      }
    }
  }

 private:
  std::vector<MPI_Request> requests_;
  std::vector<int> lengths_;  // of the receives, which come first
  std::size_t next_ = 0;
};

}  // namespace

void check_mpi(int code, const char* what) {
  if (code == MPI_SUCCESS) {
    return;
  }
  char reason[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  if (MPI_Error_string(code, reason, &length) != MPI_SUCCESS) {
    length = 0;
  }
  throw Error(ExitStatus::kSystem,
              text(what, " failed: ", std::string_view(reason, static_cast<std::size_t>(length)),
                   " (MPI error ", code, ")"));
}

Comm::Comm(MPI_Comm comm) {
  MPI_Comm copy = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(comm, &copy), "MPI_Comm_dup");
  *this = own(copy);
}

Comm Comm::own(MPI_Comm comm) {
  Comm result;
  result.comm_ = comm;
  check_mpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(comm, &result.rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm, &result.ranks_), "MPI_Comm_size");
  return result;
}

void Comm::free() noexcept {
  if (comm_ == MPI_COMM_NULL) {
    return;
  }
  // Freeing is collective: while one rank unwinds, the others may never arrive here.
  int finalized = 0;
  if (std::uncaught_exceptions() == 0 && MPI_Finalized(&finalized) == MPI_SUCCESS && !finalized) {
    MPI_Comm_free(&comm_);
  }
  comm_ = MPI_COMM_NULL;
}

Comm::~Comm() { free(); }

Comm::Comm(Comm&& other) noexcept
    : comm_(std::exchange(other.comm_, MPI_COMM_NULL)),
      rank_(std::exchange(other.rank_, 0)),
      ranks_(std::exchange(other.ranks_, 1)) {}

Comm& Comm::operator=(Comm&& other) noexcept {
  if (this != &other) {
    free();
    comm_ = std::exchange(other.comm_, MPI_COMM_NULL);
    rank_ = std::exchange(other.rank_, 0);
    ranks_ = std::exchange(other.ranks_, 1);
  }
  return *this;
}

Comm Comm::split(int colour, int key) const {
  expects(colour >= 0, "the colour of a part is not negative");
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(comm_, colour, key, &part), "MPI_Comm_split");
  return own(part);
}

Comm Comm::split_node() const {
  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node),
            "MPI_Comm_split_type");
  return own(node);
}

void Comm::barrier() const { check_mpi(MPI_Barrier(comm_), "MPI_Barrier"); }

void Comm::broadcast(std::span<std::byte> bytes, int root) const {
  for_each_piece(bytes.size(), kPieceBytes, [&](std::size_t offset, std::size_t length) {
    check_mpi(MPI_Bcast(bytes.data() + offset, static_cast<int>(length), MPI_BYTE, root, comm_),
              "MPI_Bcast");
  });
}

std::string Comm::broadcast_string(const std::string& on_root, int root) const {
  std::uint64_t length = on_root.size();
  broadcast(std::as_writable_bytes(std::span(&length, 1)), root);
  std::string result;
  if (rank_ == root) {
    result = on_root;
  } else {
    result.resize(length);
  }
  broadcast(std::as_writable_bytes(std::span(result)), root);
  return result;
}

void Comm::sum(std::span<std::int64_t> values) const {
  reduce(values, MPI_INT64_T, MPI_SUM, comm_);
}
void Comm::min(std::span<std::int64_t> values) const {
  reduce(values, MPI_INT64_T, MPI_MIN, comm_);
}
void Comm::max(std::span<std::int64_t> values) const {
  reduce(values, MPI_INT64_T, MPI_MAX, comm_);
}
void Comm::max(std::span<double> values) const { reduce(values, MPI_DOUBLE, MPI_MAX, comm_); }
void Comm::min(std::span<double> values) const { reduce(values, MPI_DOUBLE, MPI_MIN, comm_); }
void Comm::bit_or(std::span<std::uint8_t> values) const {
  reduce(values, MPI_UINT8_T, MPI_BOR, comm_);
}

std::int64_t Comm::sum(std::int64_t value) const {
  sum(std::span(&value, 1));
  return value;
}

std::int64_t Comm::max(std::int64_t value) const {
  max(std::span(&value, 1));
  return value;
}

std::int64_t Comm::sum_before(std::int64_t value) const {
  std::int64_t before = 0;
  check_mpi(MPI_Exscan(&value, &before, 1, MPI_INT64_T, MPI_SUM, comm_), "MPI_Exscan");
  return rank_ == 0 ? 0 : before;
}

std::vector<std::int64_t> Comm::gather_all(std::int64_t value) const {
  std::vector<std::int64_t> values(static_cast<std::size_t>(ranks_));
  check_mpi(MPI_Allgather(&value, 1, MPI_INT64_T, values.data(), 1, MPI_INT64_T, comm_),
            "MPI_Allgather");
  return values;
}

std::vector<std::vector<std::byte>> Comm::gather_all_bytes(std::span<const std::byte> bytes) const {
  const auto lengths = gather_all(narrow<std::int64_t>(bytes.size()));
  std::vector<std::vector<std::byte>> result(lengths.size());
  for (std::size_t rank = 0; rank < lengths.size(); ++rank) {
    result[rank].resize(static_cast<std::size_t>(lengths[rank]));
  }
  std::copy(bytes.begin(), bytes.end(), result[static_cast<std::size_t>(rank_)].begin());
  for (std::size_t rank = 0; rank < lengths.size(); ++rank) {
    broadcast(result[rank], static_cast<int>(rank));
  }
  return result;
}

std::vector<std::vector<std::byte>> Comm::exchange_all(
    const std::vector<std::vector<std::byte>>& to_rank) const {
  const auto ranks = static_cast<std::size_t>(ranks_);
  expects(to_rank.size() == ranks, "one message for each rank");
  std::vector<std::int64_t> out_bytes(ranks), in_bytes(ranks);
  std::transform(to_rank.begin(), to_rank.end(), out_bytes.begin(),
                 [](const auto& message) { return narrow<std::int64_t>(message.size()); });
  check_mpi(MPI_Alltoall(out_bytes.data(), 1, MPI_INT64_T, in_bytes.data(), 1, MPI_INT64_T, comm_),
            "MPI_Alltoall");
  std::vector<std::vector<std::byte>> from_rank(ranks);
  std::vector<Outgoing> out(ranks);
  std::vector<Incoming> in(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    from_rank[rank].resize(static_cast<std::size_t>(in_bytes[rank]));
    out[rank] = {static_cast<int>(rank), to_rank[rank]};
    in[rank] = {static_cast<int>(rank), from_rank[rank]};
  }
  exchange(out, in);
  return from_rank;
}

void Comm::exchange(std::span<const Outgoing> out, std::span<const Incoming> in) const {
  // First, because it can fail: no message may be under way into memory that unwinding releases.
  copy_to_self(out, in, rank_);
  Pending pending(pieces_of_others(in, rank_), pieces_of_others(out, rank_));
  for (const Incoming& message : in) {
    if (message.rank != rank_) {
      pending.receive(message, comm_);
    }
  }
  for (const Outgoing& message : out) {
    if (message.rank != rank_) {
      pending.send(message, comm_);
    }
  }
  pending.wait();
}

}  // namespace espalier
