#include "jobs/outcome_piece.hpp"

#include <cstring>
#include <span>

#include "framework/error.hpp"

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

template <typename T>
void append(std::vector<std::byte>& bytes, const std::vector<T>& values) {
  const auto more = std::as_bytes(std::span(values));
  bytes.insert(bytes.end(), more.begin(), more.end());
}

template <typename T>
std::span<const std::byte> take(std::span<const std::byte> bytes, std::int64_t count,
                                std::vector<T>& values) {
  values.resize(static_cast<std::size_t>(count));
  const std::size_t length = values.size() * sizeof(T);
  if (length > 0) {
    std::memcpy(values.data(), bytes.data(), length);
  }
  return bytes.subspan(length);
}

}  // namespace

std::vector<std::byte> pack_outcome(const OutcomePiece& piece) {
  std::vector<std::byte> bytes;
  append(bytes, piece.alive);
  append(bytes, piece.top_index);
  append(bytes, piece.top_value);
  append(bytes, piece.pointers);
  append(bytes, piece.indices);
  append(bytes, piece.values);
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
  rest = take(rest, n, piece.alive);
  rest = take(rest, n * options.top_k, piece.top_index);
  rest = take(rest, n * options.top_k, piece.top_value);
  rest = take(rest, options.full ? n + 1 : 0, piece.pointers);
  rest = take(rest, nnz, piece.indices);
  take(rest, nnz, piece.values);
  return piece;
}

}  // namespace espalier::jobs
