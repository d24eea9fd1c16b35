#include "jobs/sample_rows.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/layout.hpp"
#include "kernels/turn.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;

// Copies each column to a row of `to`, neighbouring columns of a panel together.
void turn_columns(const ShardOutputs& mine, std::int64_t rows, float* to) {
  const auto& columns = mine.columns;
  for (std::size_t at = 0; at < columns.size();) {
    const float* from = mine.panels + columns[at] / kWidth * rows * kWidth + columns[at] % kWidth;
    const std::int64_t most = std::min(kWidth - columns[at] % kWidth,
                                       std::ssize(columns) - static_cast<std::int64_t>(at));
    std::int64_t count = 1;
    while (count < most && columns[at + static_cast<std::size_t>(count)] == columns[at] + count) {
      ++count;
    }
    kernels::turn(from, to, {rows, count, kWidth, rows});
    to += count * rows;
    at += static_cast<std::size_t>(count);
  }
}

}  // namespace

std::vector<float> exchange_outputs(const Comm& group, const ShardOutputs& mine,
                                    const std::vector<std::int64_t>& dealt,
                                    std::vector<float> reuse) {
  const auto me = static_cast<std::size_t>(group.rank());
  const auto shards = static_cast<std::size_t>(group.ranks());
  const std::int64_t rows = mine.bounds[me + 1] - mine.bounds[me];
  const std::int64_t outputs = mine.bounds.back();
  const std::int64_t my_columns = dealt[me + 1] - dealt[me];

  // Sent by column, so that each destination's part is one piece.
  std::vector<float> sent = std::move(reuse);
  sent.resize(mine.columns.size() * static_cast<std::size_t>(rows));
  turn_columns(mine, rows, sent.data());
  if (shards == 1) {
    return sent;
  }
  std::vector<float> received(static_cast<std::size_t>(my_columns * outputs));
  std::vector<Outgoing> out;
  std::vector<Incoming> in;
  for (std::size_t shard = 0; shard < shards; ++shard) {
    const auto send =
        std::span(sent).subspan(static_cast<std::size_t>(dealt[shard] * rows),
                                static_cast<std::size_t>((dealt[shard + 1] - dealt[shard]) * rows));
    const auto receive = std::span(received).subspan(
        static_cast<std::size_t>(my_columns * mine.bounds[shard]),
        static_cast<std::size_t>(my_columns * (mine.bounds[shard + 1] - mine.bounds[shard])));
    out.push_back({static_cast<int>(shard), std::as_bytes(send)});
    in.push_back({static_cast<int>(shard), std::as_writable_bytes(receive)});
  }
  group.exchange(out, in);
  sent = {};

  std::vector<float> samples(received.size());
  for (std::size_t shard = 0; shard < shards; ++shard) {
    const std::int64_t count = mine.bounds[shard + 1] - mine.bounds[shard];
    const float* from = received.data() + my_columns * mine.bounds[shard];
    for (std::int64_t column = 0; column < my_columns; ++column) {
      std::copy_n(from + column * count, count,
                  samples.data() + column * outputs + mine.bounds[shard]);
    }
  }
  return samples;
}

std::vector<kernels::Ranked> exchange_best(const Comm& group, std::span<const kernels::Ranked> mine,
                                           const std::vector<std::int64_t>& dealt) {
  using kernels::Ranked;
  const auto columns = static_cast<std::size_t>(dealt.back());
  const std::size_t kept = columns == 0 ? 0 : mine.size() / columns;
  std::vector<std::vector<std::byte>> to_rank;
  for (std::size_t shard = 0; shard + 1 < dealt.size(); ++shard) {
    const auto begin = static_cast<std::size_t>(dealt[shard]);
    const auto end = static_cast<std::size_t>(dealt[shard + 1]);
    const auto bytes = std::as_bytes(mine.subspan(begin * kept, (end - begin) * kept));
    to_rank.emplace_back(bytes.begin(), bytes.end());
  }
  const auto received = group.exchange_all(to_rank);
  const auto me = static_cast<std::size_t>(group.rank());
  const auto my_columns = static_cast<std::size_t>(dealt[me + 1] - dealt[me]);
  std::vector<Ranked> all;
  for (std::size_t column = 0; column < my_columns; ++column) {
    for (const std::vector<std::byte>& bytes : received) {
      const std::size_t count = bytes.size() / sizeof(Ranked) / my_columns;
      const std::size_t old = all.size();
      all.resize(old + count);
      if (count > 0) {
        std::memcpy(all.data() + old, bytes.data() + column * count * sizeof(Ranked),
                    count * sizeof(Ranked));
      }
    }
  }
  return all;
}

}  // namespace espalier::jobs
