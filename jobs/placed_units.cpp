#include "jobs/placed_units.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <span>

#include "framework/agree.hpp"
#include "framework/parallel.hpp"
#include "io/checksum.hpp"
#include "jobs/unit_bytes.hpp"

namespace espalier::jobs {
namespace {

using Bytes = std::vector<std::byte>;

// Threads read and sum up slices of this size.
constexpr std::int64_t kSlice = INT64_C(1) << 20;
// Parts that a rank copies between two looks at the time, if it has no more threads.
constexpr std::int64_t kPartsAtOnce = 4;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Calls use(position, slice) for slices of `bytes`.
void for_slices(Bytes& bytes, const std::function<void(std::int64_t, std::span<std::byte>)>& use) {
  parallel_for((std::ssize(bytes) + kSlice - 1) / kSlice, [&](std::int64_t slice, int) {
    const std::int64_t at = slice * kSlice;
    use(at,
        std::span(bytes).subspan(to_size(at), to_size(std::min(kSlice, std::ssize(bytes) - at))));
  });
}

std::uint32_t crc_of(Bytes& bytes) {
  std::vector<std::uint32_t> crcs(bytes.size() / to_size(kSlice) + 1, 0);
  for_slices(bytes, [&](std::int64_t at, std::span<std::byte> slice) {
    crcs[to_size(at / kSlice)] = io::crc32(slice);
  });
  std::uint32_t crc = 0;
  for (std::int64_t at = 0; at < std::ssize(bytes); at += kSlice) {
    crc = io::combine_crc32(crc, crcs[to_size(at / kSlice)],
                            std::min(kSlice, std::ssize(bytes) - at));
  }
  return crc;
}

// Six numbers, then the doubts.
Bytes spell_unit(const PlacedUnit& unit) {
  Bytes bytes;
  put_array(bytes, std::vector<std::int64_t>{unit.read_crc, unit.written_crc, unit.kept,
                                             std::bit_cast<std::int64_t>(unit.removed_squares),
                                             unit.equals, std::ssize(unit.doubts) / 2});
  put_array(bytes, unit.doubts);
  return bytes;
}

PlacedUnit parse_unit(std::span<const std::byte> bytes) {
  const auto numbers = take_array<std::int64_t>(bytes, 6);
  PlacedUnit unit{static_cast<std::uint32_t>(numbers[0]),
                  static_cast<std::uint32_t>(numbers[1]),
                  numbers[2],
                  std::bit_cast<double>(numbers[3]),
                  numbers[4],
                  {}};
  unit.doubts = take_array<std::uint32_t>(bytes, 2 * numbers[5]);
  return unit;
}

[[noreturn]] void refuse(const std::string& what, const std::string& name,
                         const ModelStretch& stretch) {
  throw Error(
      ExitStatus::kBadData,
      text("cannot resume: ", name, " ", what, ": bytes ", stretch.begin, " to ", stretch.end - 1,
           " have another checksum than they had; --no-resume starts afresh"));
}

}  // namespace

PlacedUnit PlacedUnits::find(Range items, const ModelStretch& stretch, std::int64_t width) {
  run_.check_request();
  PlacedUnit unit = parse_unit(run_.record().read_whole(items));
  Bytes before(to_size(stretch.end - stretch.begin));
  for_slices(before, [&](std::int64_t at, std::span<std::byte> slice) {
    reader_.read_bytes(stretch.file, stretch.begin + at, slice);
  });
  if (crc_of(before) != unit.read_crc) {
    refuse("has changed", reader_.model().files[stretch.file].path, stretch);
  }
  Bytes after(before.size());
  for_slices(after, [&](std::int64_t at, std::span<std::byte> slice) {
    output_.read(stretch.file, stretch.begin + at, slice);
  });
  for (std::size_t i = 0; i < unit.doubts.size(); i += 2) {
    const std::int64_t at = unit.doubts[i] * width;
    expects(at <= std::ssize(after) - width, "a doubt lies within its unit");
    std::memset(after.data() + at, 0, to_size(width));
  }
  if (crc_of(after) != unit.written_crc) {
    refuse("is damaged", output_.name(stretch.file), stretch);
  }
  for (std::size_t i = 0; i < unit.doubts.size(); i += 2) {
    const std::int64_t at = unit.doubts[i] * width;
    output_.write(stretch.file, stretch.begin + at,
                  std::span(before).subspan(to_size(at), to_size(width)));
  }
  digest_.note(stretch.file, stretch.begin, stretch.end - stretch.begin, unit.read_crc);
  return unit;
}

void PlacedUnits::add(Range items, const ModelStretch& stretch, const PlacedUnit& unit) {
  digest_.note(stretch.file, stretch.begin, stretch.end - stretch.begin, unit.read_crc);
  run_.record().add(items, spell_unit(unit));
}

void PlacedUnits::copy(const std::vector<ModelStretch>& parts, std::int64_t first) {
  const Comm& world = context_.world;
  const std::int64_t step = std::max<std::int64_t>(kPartsAtOnce, threads());
  const std::int64_t all = world.max(step) * world.ranks();
  for (std::int64_t begin = 0; begin < std::ssize(parts); begin += all) {
    const Range round{begin, std::min(begin + all, std::ssize(parts))};
    const std::int64_t mine = std::min(begin + all / world.ranks() * world.rank(), round.end);
    locally(world, "copying what is not pruned", [&] {
      const PhaseTimer timer(context_.times, Phase::kWrite);
      copy_parts(parts, {mine, std::min(mine + all / world.ranks(), round.end)}, first);
    });
    run_.after_unit({first + round.begin, first + round.end});
  }
}

void PlacedUnits::copy_parts(const std::vector<ModelStretch>& parts, Range mine,
                             std::int64_t first) {
  std::vector<std::int64_t> left;
  for (std::int64_t part = mine.begin; part < mine.end; ++part) {
    if (has({first + part, first + part + 1})) {
      find({first + part, first + part + 1}, parts[to_size(part)], 1);
    } else {
      left.push_back(part);
    }
  }
  std::vector<std::uint32_t> crcs(left.size());
  std::vector<Bytes> buffers(to_size(threads()));
  parallel_for(std::ssize(left), [&](std::int64_t i, int thread) {
    crcs[to_size(i)] =
        copy_part(reader_, parts[to_size(left[to_size(i)])], output_, buffers[to_size(thread)]);
  });
  for (std::size_t i = 0; i < left.size(); ++i) {
    add({first + left[i], first + left[i] + 1}, parts[to_size(left[i])],
        {crcs[i], crcs[i], 0, 0, 0, {}});
  }
}

}  // namespace espalier::jobs
