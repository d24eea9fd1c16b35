#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "framework/error.hpp"
#include "framework/memory.hpp"

BOOST_AUTO_TEST_SUITE(framework_memory)

using namespace espalier;

namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

std::uintptr_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

// A machine made of files: 1000 MiB free, no control groups, no Slurm.
struct FakeMachine {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / "fake_machine";
  MemorySources sources{folder / "meminfo", folder / "cgroup", folder / "groups"};

  FakeMachine() {
    std::filesystem::remove_all(folder);
    unsetenv("SLURM_MEM_PER_NODE");
    write("meminfo", "MemTotal:  9999999 kB\nMemFree: 1 kB\nMemAvailable:  1024000 kB\n");
  }
  ~FakeMachine() {
    std::filesystem::remove_all(folder);
    unsetenv("SLURM_MEM_PER_NODE");
  }

  void write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((folder / name).parent_path());
    std::ofstream(folder / name) << content;
  }
  std::int64_t mebibytes() const { return usable_memory_bytes(sources) / kMiB; }
};

}  // namespace

BOOST_AUTO_TEST_CASE(buffers_are_aligned_and_hold_what_is_written) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{63}, std::size_t{4096},
                                  std::size_t{1} << 20, (std::size_t{1} << 20) + 1}) {
    AlignedBuffer<float> buffer(count);
    const std::size_t alignment = count * sizeof(float) >= 4 * kMiB ? 2 * kMiB : 64;
    BOOST_TEST(address(buffer.data()) % alignment == 0U);
    BOOST_TEST(buffer.size() == count);
    BOOST_TEST(buffer.span().size() == count);
    buffer[0] = 1;
    buffer[count - 1] = 2;
    const AlignedBuffer<float>& same = buffer;
    BOOST_TEST(same[count - 1] == 2);
    BOOST_TEST(same.span().data() == buffer.data());
  }
}

BOOST_AUTO_TEST_CASE(empty_buffers_are_fine) {
  AlignedBuffer<double> none;
  BOOST_TEST(none.size() == 0U);
  AlignedBuffer<double> zero(0);
  BOOST_TEST(zero.span().empty());
  BOOST_TEST(allocate_aligned(0) == nullptr);
  BOOST_CHECK_NO_THROW(free_aligned(nullptr));
}

BOOST_AUTO_TEST_CASE(a_moved_buffer_keeps_its_place) {
  AlignedBuffer<int> first(10);
  int* const place = first.data();
  first[3] = 33;
  AlignedBuffer<int> second = std::move(first);
  BOOST_TEST(second.data() == place);
  BOOST_TEST(second[3] == 33);
  BOOST_TEST(second.size() == 10U);
  BOOST_TEST(first.size() == 0U);
  BOOST_TEST(first.span().empty());
}

BOOST_AUTO_TEST_CASE(what_cannot_be_had_is_bad_alloc) {
  const std::size_t all = std::numeric_limits<std::size_t>::max();
  BOOST_CHECK_THROW(AlignedBuffer<double>{all / 4}, std::bad_alloc);  // overflows in bytes
  BOOST_CHECK_THROW(allocate_aligned(all), std::bad_alloc);
  BOOST_CHECK_THROW(allocate_aligned(all / 2), std::bad_alloc);
}

BOOST_AUTO_TEST_CASE(caches_grow_with_their_level) {
  BOOST_TEST(cache_bytes(1) >= 4096);
  BOOST_TEST(cache_bytes(2) >= cache_bytes(1));
  BOOST_CHECK_THROW(cache_bytes(4), BugError);
}

BOOST_AUTO_TEST_CASE(the_peak_follows_what_is_touched) {
  const std::int64_t before = peak_rss_bytes();
  BOOST_TEST(before > 0);
  {
    AlignedBuffer<char> large(static_cast<std::size_t>(64 * kMiB));
    std::memset(large.data(), 1, large.size());
    BOOST_TEST(large[large.size() / 2] == 1);
  }
  const std::int64_t after = peak_rss_bytes();
  BOOST_TEST(after >= before + 32 * kMiB);
  BOOST_TEST(after < before + 1024 * kMiB);
}

BOOST_AUTO_TEST_CASE(without_limits_the_free_memory_counts) {
  const FakeMachine machine;
  BOOST_TEST(machine.mebibytes() == 1000);
}

BOOST_AUTO_TEST_CASE(control_groups_of_version_2_bind_at_every_level) {
  const FakeMachine machine;
  machine.write("cgroup", "0::/slurm/job_7/step_0\n");
  machine.write("groups/slurm/job_7/step_0/memory.max", "max\n");
  BOOST_TEST(machine.mebibytes() == 1000);
  machine.write("groups/slurm/job_7/memory.max", std::to_string(300 * kMiB));
  BOOST_TEST(machine.mebibytes() == 300);
  machine.write("groups/slurm/memory.max", std::to_string(200 * kMiB));
  BOOST_TEST(machine.mebibytes() == 200);
  machine.write("groups/memory.max", std::to_string(100 * kMiB));
  BOOST_TEST(machine.mebibytes() == 100);
  machine.write("groups/slurm/job_7/step_0/memory.max", std::to_string(50 * kMiB));
  BOOST_TEST(machine.mebibytes() == 50);
}

BOOST_AUTO_TEST_CASE(in_a_container_the_root_group_binds) {
  const FakeMachine machine;
  machine.write("cgroup", "0::/\n");
  machine.write("groups/memory.max", std::to_string(70 * kMiB));
  BOOST_TEST(machine.mebibytes() == 70);
  machine.write("cgroup", "0::/../../not/visible/here\n");
  BOOST_TEST(machine.mebibytes() == 70);
}

BOOST_AUTO_TEST_CASE(control_groups_of_version_1_bind_too) {
  const FakeMachine machine;
  machine.write("cgroup", "5:cpuset:/other\n4:cpu,memory:/job\n1:name=systemd:/x\n");
  machine.write("groups/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
  BOOST_TEST(machine.mebibytes() == 1000);
  machine.write("groups/memory/job/memory.limit_in_bytes", std::to_string(80 * kMiB));
  BOOST_TEST(machine.mebibytes() == 80);
  machine.write("groups/memory/other/memory.limit_in_bytes", std::to_string(10 * kMiB));
  BOOST_TEST(machine.mebibytes() == 80);
}

BOOST_AUTO_TEST_CASE(slurm_binds_unless_it_gives_the_whole_node) {
  const FakeMachine machine;
  setenv("SLURM_MEM_PER_NODE", "600", 1);
  BOOST_TEST(machine.mebibytes() == 600);
  setenv("SLURM_MEM_PER_NODE", "0", 1);
  BOOST_TEST(machine.mebibytes() == 1000);
  setenv("SLURM_MEM_PER_NODE", "nonsense", 1);
  BOOST_TEST(machine.mebibytes() == 1000);
}

BOOST_AUTO_TEST_CASE(a_machine_without_the_files_still_has_memory) {
  FakeMachine machine;
  machine.sources.meminfo = machine.folder / "missing";
  BOOST_TEST(machine.mebibytes() > 16);
}

BOOST_AUTO_TEST_CASE(ranks_on_a_node_share) {
  const FakeMachine machine;
  setenv("SLURM_MEM_PER_NODE", "100", 1);
  BOOST_TEST(default_memory_per_rank(1) == 80 * kMiB);
  BOOST_TEST(default_memory_per_rank(4) == 20 * kMiB);
  BOOST_CHECK_THROW(default_memory_per_rank(0), BugError);
}

BOOST_AUTO_TEST_SUITE_END()
