#include "framework/memory.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string_view>

#include "framework/error.hpp"

namespace espalier {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kHugeFrom = std::size_t{4} << 20;
constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// The number `spelled` begins with, times `unit`; none if there is no number ("max"). What is
// beyond 64 bits does not limit anything.
std::optional<std::int64_t> leading_number(std::string_view spelled, std::int64_t unit) {
  spelled.remove_prefix(std::min(spelled.find_first_not_of(" \t"), spelled.size()));
  std::int64_t number = 0;
  const auto [end, error] =
      std::from_chars(spelled.data(), spelled.data() + spelled.size(), number);
  if (error != std::errc{} || number > kUnlimited / unit) {
    return std::nullopt;
  }
  return number * unit;
}

// The value of the line "key: 123 kB" in a file of /proc, in bytes.
std::optional<std::int64_t> read_kilobytes(const std::string& file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ':') {
      return leading_number(std::string_view(line).substr(key.size() + 1), 1024);
    }
  }
  return std::nullopt;
}

// The least limit on the way from `group` up to the root: each level binds. In a container the
// lower levels may not be visible, the root then stands for the container.
std::int64_t read_group_limit(const std::string& root, std::string group, const char* file) {
  std::int64_t limit = kUnlimited;
  for (;;) {
    std::ifstream in(text(root, group, "/", file));
    if (std::string line; std::getline(in, line)) {
      limit = std::min(limit, leading_number(line, 1).value_or(kUnlimited));
    }
    if (group.empty()) {
      return limit;
    }
    group.resize(group.rfind('/'));
  }
}

// A line reads "0::/path" (version 2) or "7:cpu,memory:/path" (version 1).
std::int64_t read_group_limits(const MemorySources& sources) {
  std::int64_t limit = kUnlimited;
  std::ifstream in(sources.own_groups);
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) {
      continue;
    }
    const std::string controllers = text(",", line.substr(first + 1, second - first - 1), ",");
    std::string group = line.substr(second + 1);
    if (group == "/" || !group.starts_with('/')) {
      group.clear();
    }
    if (controllers == ",,") {
      limit = std::min(limit, read_group_limit(sources.group_root, group, "memory.max"));
    } else if (controllers.find(",memory,") != std::string::npos) {
      limit = std::min(
          limit, read_group_limit(sources.group_root + "/memory", group, "memory.limit_in_bytes"));
    }
  }
  return limit;
}

// Slurm counts in MB; 0 means the whole node.
std::int64_t slurm_limit() {
  const char* spelled = std::getenv("SLURM_MEM_PER_NODE");
  const std::int64_t limit =
      spelled == nullptr ? 0 : leading_number(spelled, std::int64_t{1} << 20).value_or(0);
  return limit > 0 ? limit : kUnlimited;
}

}  // namespace

void* allocate_aligned(std::size_t bytes) {
  if (bytes == 0) {
    return nullptr;
  }
  const std::size_t alignment = bytes >= kHugeFrom ? kHugePage : kLine;
  if (bytes > std::numeric_limits<std::size_t>::max() - alignment) {
    throw std::bad_alloc();
  }
  const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
  void* pointer = std::aligned_alloc(alignment, whole);
  if (pointer == nullptr) {
    throw std::bad_alloc();
  }
  if (alignment == kHugePage) {
    advise_huge_pages(pointer, whole);
  }
  return pointer;
}

void free_aligned(void* pointer) noexcept { std::free(pointer); }

void advise_huge_pages(void* pointer, std::size_t bytes) noexcept {
  const std::size_t before = reinterpret_cast<std::uintptr_t>(pointer) % kHugePage;
  const std::size_t skipped = before == 0 ? 0 : kHugePage - before;
  if (bytes >= skipped + kHugePage) {
    static_cast<void>(madvise(static_cast<std::byte*>(pointer) + skipped,
                              (bytes - skipped) / kHugePage * kHugePage, MADV_HUGEPAGE));
  }
}

std::int64_t cache_bytes(int level) {
  expects(level >= 1 && level <= 3, "a cache has level 1, 2 or 3");
  struct Cache {
    int name;
    std::int64_t otherwise;
  };
  constexpr Cache kCaches[] = {{_SC_LEVEL1_DCACHE_SIZE, std::int64_t{32} << 10},
                               {_SC_LEVEL2_CACHE_SIZE, std::int64_t{1} << 20},
                               {_SC_LEVEL3_CACHE_SIZE, std::int64_t{32} << 20}};
  const Cache& cache = kCaches[level - 1];
  const long bytes = sysconf(cache.name);
  return bytes > 0 ? bytes : cache.otherwise;
}

std::int64_t peak_rss_bytes() {
  // getrusage alone would do, but its figure survives exec: a small program started by a large
  // one would report the large one's peak.
  if (const auto peak = read_kilobytes("/proc/self/status", "VmHWM")) {
    return *peak;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

std::int64_t usable_memory_bytes(const MemorySources& sources) {
  const std::int64_t installed = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  const std::int64_t free = read_kilobytes(sources.meminfo, "MemAvailable").value_or(installed);
  return std::min({free, read_group_limits(sources), slurm_limit()});
}

std::int64_t default_memory_per_rank(int ranks_on_node) {
  expects(ranks_on_node >= 1, "a node with this rank has at least one rank");
  return usable_memory_bytes() / 5 * 4 / ranks_on_node;
}

}  // namespace espalier
