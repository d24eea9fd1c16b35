#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/shard.hpp"
#include "io/graphchallenge.hpp"
#include "io/input_file.hpp"
#include "io/line_feeder.hpp"
#include "io/triplet_lines.hpp"

namespace espalier::io {
namespace {

struct Category {
  std::int64_t id;    // 0-based
  std::int64_t line;  // 1-based
};

std::int64_t parse_id(std::string_view line, std::int64_t samples) {
  std::int64_t id = 0;
  const char* const last = line.data() + line.size();
  const auto [end, error] = std::from_chars(line.data(), last, id);
  if (error == std::errc::invalid_argument || end != last || line.starts_with('-')) {
    throw Error(ExitStatus::kBadData,
                text("found ", in_quotes(line), ", right is one sample id a line, 1..", samples));
  }
  if (error != std::errc() || id < 1 || id > samples) {
    throw Error(ExitStatus::kBadData,
                text("sample id ", in_quotes(line), " is out of range, right is 1..", samples));
  }
  return id - 1;
}

// Reads the file's ids with their lines.
std::vector<Category> parse_categories(const std::string& path, std::int64_t samples) {
  const InputFile file(path);
  LineFeeder feeder(file, Range{0, file.size()});
  std::vector<Category> found;
  std::int64_t number = 0;
  std::int64_t empty_line = 0;
  for (auto piece = feeder.next(); !piece.empty(); piece = feeder.next()) {
    while (!piece.empty()) {
      std::string_view line = piece.substr(0, piece.find('\n'));
      piece.remove_prefix(line.size() + 1);
      line.remove_suffix(line.ends_with('\r') ? 1 : 0);
      ++number;
      if (line.empty()) {
        empty_line = empty_line == 0 ? number : empty_line;
        continue;
      }
      if (empty_line > 0) {
        throw Error(
            ExitStatus::kBadData,
            at_line(path, empty_line) +
                "empty, but lines follow it; only the end of the file may have empty lines");
      }
      try {
        found.push_back({parse_id(line, samples), number});
      } catch (const Error& error) {
        throw Error(error.status(), at_line(path, number) + error.what());
      }
    }
  }
  if (!feeder.too_long().empty()) {
    throw Error(ExitStatus::kBadData,
                at_line(path, number + 1) + text("found ", in_quotes(feeder.too_long()),
                                                 ", right is one sample id a line, 1..", samples));
  }
  return found;
}

void refuse_repeats(const std::string& path, const std::vector<Category>& sorted) {
  const Category* first = nullptr;
  const Category* earlier = nullptr;
  for (std::size_t k = 1; k < sorted.size(); ++k) {
    if (sorted[k].id == sorted[k - 1].id && (first == nullptr || sorted[k].line < first->line)) {
      first = &sorted[k];
      earlier = &sorted[k - 1];
    }
  }
  if (first != nullptr) {
    throw Error(ExitStatus::kBadData, at_line(path, first->line) +
                                          text("sample id ", first->id + 1, " stands on line ",
                                               earlier->line, " already, right is each id once"));
  }
}

}  // namespace

std::vector<std::int64_t> read_challenge_truth(const Comm& comm, const std::string& file,
                                               std::int64_t samples) {
  std::vector<std::int64_t> ids;
  on_root(comm, "reading " + file, [&] {
    std::vector<Category> categories = parse_categories(file, samples);
    std::sort(categories.begin(), categories.end(), [](const Category& a, const Category& b) {
      return std::pair(a.id, a.line) < std::pair(b.id, b.line);
    });
    refuse_repeats(file, categories);
    for (const Category& category : categories) {
      ids.push_back(category.id);
    }
  });
  auto count = static_cast<std::int64_t>(ids.size());
  comm.broadcast(std::as_writable_bytes(std::span(&count, 1)), 0);
  locally(comm, "reading " + file, [&] { ids.resize(static_cast<std::size_t>(count)); });
  comm.broadcast(std::as_writable_bytes(std::span(ids)), 0);
  return ids;
}

}  // namespace espalier::io
