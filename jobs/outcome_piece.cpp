#include "jobs/outcome_piece.hpp"

#include <cstring>
#include <span>
#include <utility>

#include "framework/error.hpp"

namespace espalier::jobs {
namespace {

template <typename T>
constexpr auto kBytes = static_cast<std::int64_t>(sizeof(T));

// Bytes of what comes before the full outputs.
std::int64_t bytes_before_full(std::int64_t samples, const OutcomeOptions& options) {
  return samples + samples * options.top_k * (kBytes<std::int64_t> + kBytes<float>);
}

// Takes `count` numbers off the front of `bytes`.
template <typename T>
void take(std::span<const std::byte>& bytes, std::int64_t count, std::vector<T>& values) {
  expects(count >= 0 && count <= std::ssize(bytes) / kBytes<T>,
          "a finished unit holds what its numbers say");
  values.resize(static_cast<std::size_t>(count));
  const std::size_t length = values.size() * sizeof(T);
  if (length > 0) {
    std::memcpy(values.data(), bytes.data(), length);
  }
  bytes = bytes.subspan(length);
}

// Leaves out the zeros of a whole piece.
void drop_zeros(std::int64_t outputs, OutcomePiece& piece) {
  piece.indices.resize(piece.values.size());
  piece.pointers.assign(1, 0);
  const float* from = piece.values.data();
  float* value = piece.values.data();
  std::uint32_t* index = piece.indices.data();
  for (std::int64_t sample = 0; sample < piece.samples.size(); ++sample) {
    for (std::int64_t output = 0; output < outputs; ++output) {
      const float y = *from++;
      *value = y;
      *index = static_cast<std::uint32_t>(output);
      const std::ptrdiff_t kept = y != 0 ? 1 : 0;
      value += kept;
      index += kept;
    }
    piece.pointers.push_back(value - piece.values.data());
  }
  piece.indices.resize(static_cast<std::size_t>(piece.pointers.back()));
  piece.values.resize(piece.indices.size());
  piece.whole = false;
}

}  // namespace

bool keeps_whole(std::int64_t samples, std::int64_t outputs, std::int64_t nonzero) noexcept {
  return samples * outputs * kBytes<float> <
         (samples + 1) * kBytes<std::int64_t> + nonzero * (kBytes<std::uint32_t> + kBytes<float>);
}

void add_outcome(io::UnitRecord& record, const OutcomePiece& piece, const OutcomeOptions& options) {
  const auto bytes = [](const auto& values) { return std::as_bytes(std::span(values)); };
  const auto count = std::span(&piece.nonzero, options.full ? 1 : 0);
  record.add(piece.samples,
             {bytes(piece.alive), bytes(piece.top_index), bytes(piece.top_value), bytes(count),
              bytes(piece.pointers), bytes(piece.indices), bytes(piece.values)});
}

std::int64_t nonzero_of_outcome(const io::UnitRecord& record, std::size_t unit,
                                const OutcomeOptions& options) {
  std::int64_t nonzero = 0;
  if (options.full) {
    record.read(unit, bytes_before_full(record.items(unit).size(), options),
                std::as_writable_bytes(std::span(&nonzero, 1)));
  }
  return nonzero;
}

OutcomePiece read_outcome(const io::UnitRecord& record, std::size_t unit,
                          const OutcomeOptions& options, std::int64_t outputs, OutcomePiece reuse) {
  OutcomePiece piece = std::move(reuse);
  piece.samples = record.items(unit);
  const std::int64_t n = piece.samples.size();
  std::vector<std::byte> room;
  auto rest = record.look_at(piece.samples, room);
  take(rest, n, piece.alive);
  take(rest, n * options.top_k, piece.top_index);
  take(rest, n * options.top_k, piece.top_value);
  if (options.full) {
    piece.nonzero = nonzero_of_outcome(record, unit, options);
    rest = rest.subspan(sizeof piece.nonzero);
    piece.whole = keeps_whole(n, outputs, piece.nonzero);
    take(rest, piece.whole ? 0 : n + 1, piece.pointers);
    take(rest, piece.whole ? 0 : piece.nonzero, piece.indices);
    take(rest, piece.whole ? n * outputs : piece.nonzero, piece.values);
    if (piece.whole) {
      drop_zeros(outputs, piece);
    }
    expects(piece.pointers.back() == piece.nonzero, "a finished unit counts its outputs");
  }
  expects(rest.empty(), "a finished unit has the length of its samples");
  return piece;
}

}  // namespace espalier::jobs
