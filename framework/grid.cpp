#include "framework/grid.hpp"

#include <charconv>
#include <cstdint>
#include <optional>

#include "framework/agree.hpp"
#include "framework/error.hpp"

namespace espalier {
namespace {

std::optional<int> positive(std::string_view spelled) {
  int number = 0;
  const char* const end = spelled.data() + spelled.size();
  const auto [stop, error] = std::from_chars(spelled.data(), end, number);
  if (error != std::errc{} || stop != end || number < 1) {
    return std::nullopt;
  }
  return number;
}

// Refuses a shape that does not fit before any rank enters the split.
GridShape checked(const Comm& world, GridShape shape) {
  same_everywhere(world, "the process grid", to_string(shape));
  const std::int64_t needed = std::int64_t{shape.row_shards} * shape.sample_groups;
  std::optional<Failure> failure;
  if (shape.row_shards < 1 || shape.sample_groups < 1 || needed != world.ranks()) {
    failure = {ExitStatus::kUsage,
               text("--grid ", to_string(shape), " needs ", needed, " ranks, but there are ",
                    world.ranks(), "; start as many, or use --grid auto")};
  }
  agree(world, "checking the process grid", failure);
  return shape;
}

}  // namespace

GridShape parse_grid(std::string_view spelled) {
  const auto cross = spelled.find('x');
  if (cross != std::string_view::npos) {
    const auto row_shards = positive(spelled.substr(0, cross));
    const auto sample_groups = positive(spelled.substr(cross + 1));
    if (row_shards && sample_groups) {
      return {*row_shards, *sample_groups};
    }
  }
  throw Error(ExitStatus::kUsage,
              text("--grid \"", spelled,
                   "\" is not of the form RxC (row shards x sample groups), such as 4x2"));
}

std::string to_string(const GridShape& shape) {
  return text(shape.row_shards, "x", shape.sample_groups);
}

ProcessGrid::ProcessGrid(const Comm& world, GridShape shape)
    : shape_(checked(world, shape)),
      sample_group_(world.rank() / shape.row_shards),
      group_(world.split(sample_group_, world.rank())) {}

}  // namespace espalier
