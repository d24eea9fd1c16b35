#include "jobs/outcome_piece.hpp"

#include <span>

#include "framework/error.hpp"
#include "jobs/unit_bytes.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kNonZeroBytes = sizeof(std::uint32_t) + sizeof(float);

// Bytes of everything but the non-zero outputs.
std::int64_t fixed_bytes(Range samples, const OutcomeOptions& options) {
  const auto n = samples.size();
  const auto top_bytes = static_cast<std::int64_t>(sizeof(std::int64_t) + sizeof(float));
  const std::int64_t pointers = options.full ? n + 1 : 0;
  return n + n * options.top_k * top_bytes + pointers * std::int64_t{sizeof(std::int64_t)};
}

}  // namespace

std::vector<std::byte> pack_outcome(const OutcomePiece& piece) {
  std::vector<std::byte> bytes;
  put_array(bytes, piece.alive);
  put_array(bytes, piece.top_index);
  put_array(bytes, piece.top_value);
  put_array(bytes, piece.pointers);
  put_array(bytes, piece.indices);
  put_array(bytes, piece.values);
  return bytes;
}

std::int64_t nnz_of_outcome(Range samples, const OutcomeOptions& options, std::int64_t bytes) {
  const std::int64_t rest = bytes - fixed_bytes(samples, options);
  expects(rest >= 0 && rest % kNonZeroBytes == 0 && (options.full || rest == 0),
          "a piece has the length of its samples");
  return rest / kNonZeroBytes;
}

OutcomePiece unpack_outcome(Range samples, const OutcomeOptions& options,
                            std::vector<std::byte> bytes) {
  const std::int64_t nnz = nnz_of_outcome(samples, options, std::ssize(bytes));
  const std::int64_t n = samples.size();
  OutcomePiece piece;
  piece.samples = samples;
  std::span<const std::byte> rest = bytes;
  piece.alive = take_array<std::uint8_t>(rest, n);
  piece.top_index = take_array<std::int64_t>(rest, n * options.top_k);
  piece.top_value = take_array<float>(rest, n * options.top_k);
  piece.pointers = take_array<std::int64_t>(rest, options.full ? n + 1 : 0);
  piece.indices = take_array<std::uint32_t>(rest, nnz);
  piece.values = take_array<float>(rest, nnz);
  return piece;
}

}  // namespace espalier::jobs
