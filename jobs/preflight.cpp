// espalier preflight: does this allocation do what espalier needs, and how fast?
#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <sstream>

#include "framework/agree.hpp"
#include "framework/memory.hpp"
#include "framework/parallel.hpp"
#include "framework/provenance.hpp"
#include "framework/stop.hpp"
#include "io/hdf5_version.hpp"
#include "io/staged_file.hpp"
#include "jobs/cluster_jobs.hpp"
#include "jobs/spelling.hpp"
#include "kernels/limits.hpp"
#include "kernels/target.hpp"

namespace espalier::jobs {
namespace {

using Json = nlohmann::ordered_json;

// What was looked at, and what to do about it. The same on all ranks.
struct Finding {
  std::string subject;
  enum class Kind { kGood, kAdvice, kFault } kind = Kind::kGood;
  std::string found{};   // a line
  std::string advice{};  // what to do; empty if it is good
  Json figures = Json::object();
};

std::string word_of(Finding::Kind kind) {
  return kind == Finding::Kind::kGood     ? "good"
         : kind == Finding::Kind::kAdvice ? "advice"
                                          : "FAULT";
}

void advise(Finding& finding, const std::string& advice) {
  finding.kind = Finding::Kind::kAdvice;
  finding.advice = advice;
}

Finding look_at_ranks(const Comm& world) {
  Finding finding{"ranks"};
  const auto hosts = host_names(world);
  const Comm node = world.split_node();
  const std::int64_t most = world.max(node.ranks());
  const int cores = usable_cores();
  const std::int64_t short_of_cores = world.sum(cores < threads() ? 1 : 0);
  finding.found = text(world.ranks(), " on ", hosts.size(), " nodes, at most ", most,
                       " a node, each of ", threads(), " threads on ", cores, " cores");
  finding.figures = {{"ranks", world.ranks()},
                     {"hosts", hosts},
                     {"most_on_a_node", most},
                     {"threads", threads()},
                     {"cores_of_rank_0", cores}};
  if (short_of_cores > 0) {
    advise(finding,
           text(short_of_cores, " ranks have fewer cores than threads: ask for --cpus-per-task ",
                threads(), ", or lift the binding (OMPI_MCA_hwloc_base_binding_policy=none)"));
  }
  return finding;
}

Finding look_at_versions(const Comm& world) {
  Finding finding{"versions"};
  const std::string mine =
      text("espalier ", version(), ", ", mpi_version(), ", HDF5 ", io::hdf5_version());
  same_everywhere(world, "versions of espalier and its libraries", mine);
  finding.found = mine + ", SIMD " + kernels::target_name();
  return finding;
}

// Repeats a collective step for about a fifth of a second.
//   returns  seconds of one step, the same on every rank
double time_steps(const Comm& world, const std::function<void()>& step) {
  constexpr double kSeconds = 0.2;
  step();
  std::int64_t steps = 1;
  for (;;) {
    world.barrier();
    const double start = now_seconds();
    for (std::int64_t i = 0; i < steps; ++i) {
      step();
    }
    std::array<double, 1> took = {now_seconds() - start};
    world.max(took);
    if (took[0] > kSeconds / 2) {
      return took[0] / static_cast<double>(steps);
    }
    steps *= 4;
  }
}

Finding look_at_latency(const Comm& world) {
  Finding finding{"MPI latency"};
  const double seconds = time_steps(world, [&] { world.max(std::int64_t{1}); });
  finding.found = text(rounded(seconds * 1e6), " us for an allreduce of 8 bytes");
  finding.figures = {{"allreduce_seconds", seconds}};
  if (seconds > 1e-3) {
    advise(finding,
           "that is slow: with more ranks than cores set OMPI_MCA_mpi_yield_when_idle=1; "
           "otherwise see that MPI uses the fast network");
  }
  return finding;
}

// Every rank sends to the one half way round, which is on another node if there are several.
Finding look_at_bandwidth(const Comm& world) {
  Finding finding{"MPI bandwidth"};
  if (world.ranks() == 1) {
    finding.found = "one rank sends nothing";
    return finding;
  }
  constexpr std::size_t kBytes = std::size_t{1} << 22;
  const int half = std::max(1, world.ranks() / 2);
  const int to = (world.rank() + half) % world.ranks();
  const int from = (world.rank() + world.ranks() - half) % world.ranks();
  std::vector<std::byte> sent(kBytes, std::byte{1}), received(kBytes);
  const double seconds = time_steps(world, [&] {
    const Outgoing out{to, sent};
    const Incoming in{from, received};
    world.exchange({&out, 1}, {&in, 1});
  });
  const double rate = static_cast<double>(kBytes) / seconds;
  finding.found = text(rounded(rate / 1e6), " MB/s sent and received by each rank, all at once");
  finding.figures = {{"bytes_per_second", rate}};
  if (rate < 100e6) {
    advise(finding,
           "that is a slow network: keep whole networks on a rank (--grid 1xC) if they fit");
  }
  return finding;
}

Finding look_at_compute(const Comm& world) {
  Finding finding{"compute"};
  world.barrier();
  const Spread rate = spread_over_ranks(world, kernels::measure_fma_peak());
  finding.found = text(rounded(rate.min / 1e9), " to ", rounded(rate.max / 1e9),
                       " G multiply-adds a second and core");
  finding.figures = {{"fma_per_second_min", rate.min}, {"fma_per_second_max", rate.max}};
  if (rate.min < 0.6 * rate.max) {
    advise(finding,
           "cores differ: ranks share cores, or a node is slow; the slowest one sets the pace");
  }
  return finding;
}

Finding look_at_memory(const Comm& world, std::int64_t memory_per_rank) {
  Finding finding{"memory"};
  finding.found = spelled_bytes(memory_per_rank) + " for a rank";
  finding.figures = {{"memory_per_rank", memory_per_rank}};
  struct statvfs shared {};
  std::vector<std::int64_t> room = {-1};
  if (::statvfs("/dev/shm", &shared) == 0) {
    room[0] = static_cast<std::int64_t>(shared.f_bavail * shared.f_frsize);
  }
  world.min(room);
  finding.figures["shared_memory_bytes"] = room[0];
  constexpr std::int64_t kShared = std::int64_t{64} << 20;
  if (room[0] < kShared) {
    advise(finding,
           text("a node has only ", room[0] >> 20,
                " MiB free in /dev/shm, where ranks of a node talk: clear it of what killed "
                "jobs have left (vader_segment.*)"));
  } else if (memory_per_rank < kShared * 8) {
    advise(finding,
           "that is little: ask Slurm for more (--mem-per-cpu), or start fewer ranks a node");
  }
  return finding;
}

// A file in the folder under test, gone with this object.
class Probe {
 public:
  Probe(const Comm& world, const std::string& folder, const char* kind)
      : root_(world.rank() == 0),
        path_(world.broadcast_string(text(folder, "/.espalier-preflight-", ::getpid(), "-", kind),
                                     0)) {}
  ~Probe() {
    if (root_) {
      ::unlink(path_.c_str());
    }
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  const std::string& path() const noexcept { return path_; }

 private:
  bool root_;
  std::string path_;
};

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : number_(::open(path.c_str(), flags, 0600)) {
    if (number_ < 0) {
      throw_errno(errno, "opening", path, ExitStatus::kSystem);
    }
  }
  ~Descriptor() { ::close(number_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return number_; }

 private:
  int number_;
};

// Rank 0 locks a file, and the last rank, on another node if there are several, must not get it.
Finding look_at_locking(const Comm& world, const std::string& folder) {
  Finding finding{"file locking"};
  const Probe probe(world, folder, "lock");
  std::optional<Descriptor> held;
  on_root(world, "locking a file", [&] {
    held.emplace(probe.path(), O_RDWR | O_CREAT);
    if (::flock(held->get(), LOCK_EX | LOCK_NB) != 0) {
      throw_errno(errno, "locking", probe.path(), ExitStatus::kSystem);
    }
  });
  const std::int64_t seen = world.sum(locally(world, "opening the same file", [&] {
    return std::int64_t{::access(probe.path().c_str(), F_OK) == 0};
  }));
  if (seen < world.ranks()) {
    finding.kind = Finding::Kind::kFault;
    finding.found =
        text("only ", seen, " of ", world.ranks(), " ranks see a file that rank 0 makes");
    finding.advice = "use a folder on a file system that all nodes share";
    return finding;
  }
  const std::int64_t taken = world.sum(locally(world, "locking the same file", [&] {
    if (world.rank() != world.ranks() - 1) {
      return std::int64_t{0};
    }
    const Descriptor other(probe.path(), O_RDWR);
    return std::int64_t{::flock(other.get(), LOCK_EX | LOCK_NB) == 0};
  }));
  finding.found = taken == 0 ? "a lock of one rank keeps another out"
                             : "a lock of one rank does not keep another out";
  if (taken != 0) {
    advise(finding,
           "two jobs that write the same output would not notice each other: mount the file "
           "system with locks (Lustre: -o flock), or never start a job twice");
  }
  return finding;
}

// The way of every output: all ranks write their parts of one HDF5 file, which is then checked.
Finding look_at_hdf5(const Comm& world, const std::string& folder, std::int64_t bytes) {
  Finding finding{"parallel HDF5"};
  const Probe probe(world, folder, "data.h5");
  const double start = now_seconds();
  io::StagedFile file(world, probe.path(), {"result", "preflight", Json::object(), {}}, {true});
  const int dataset = file.add_dataset("/data", io::kUint8, {bytes * world.ranks()});
  file.create();
  const std::vector<std::byte> mine(static_cast<std::size_t>(bytes),
                                    static_cast<std::byte>(world.rank()));
  file.write(dataset, bytes * world.rank(), mine);
  const double written = now_seconds();
  file.finish();
  const double end = now_seconds();
  const auto all = static_cast<double>(bytes * world.ranks());
  std::array<double, 2> took = {written - start, end - written};
  world.max(took);
  finding.found =
      text(spelled_bytes(bytes * world.ranks()), " written at ", rounded(all / took[0] / 1e6),
           " MB/s, read back, checked and synced at ", rounded(all / took[1] / 1e6), " MB/s");
  finding.figures = {{"bytes", all},
                     {"write_bytes_per_second", all / took[0]},
                     {"check_bytes_per_second", all / took[1]}};
  if (all / took[0] < 50e6) {
    advise(finding,
           "that is slow: use the parallel file system, spread the folder over several "
           "targets (Lustre: lfs setstripe -c 8), or try OMPI_MCA_io=ompio");
  }
  return finding;
}

Finding look_at_space(const Comm& world, const std::string& folder) {
  Finding finding{"disk space"};
  std::vector<std::int64_t> room = {0};
  on_root(world, "asking for the free space", [&] {
    struct statvfs disk {};
    if (::statvfs(folder.c_str(), &disk) != 0) {
      throw_errno(errno, "asking for the free space of", folder, ExitStatus::kNoInput);
    }
    room[0] = static_cast<std::int64_t>(disk.f_bavail * disk.f_frsize);
  });
  world.max(room);
  finding.found = text(spelled_bytes(room[0]), " free in ", folder);
  finding.figures = {{"free_bytes", room[0]}};
  if (room[0] < std::int64_t{1} << 30) {
    advise(finding, "that is little for networks and results");
  }
  return finding;
}

Finding look_at_slurm(const Comm& world) {
  Finding finding{"Slurm"};
  const auto variables = slurm_variables();
  const std::int64_t inside = world.max(variables.empty() ? 0 : 1);
  const std::int64_t known = world.max(slurm_end_time() ? 1 : 0);
  finding.found = inside == 0  ? "not in a Slurm job"
                  : known != 0 ? "in a job whose end is known"
                               : "in a job whose end is not known";
  finding.figures = {{"in_a_job", inside != 0}, {"end_known", known != 0}};
  if (inside != 0 && known == 0) {
    advise(finding,
           "jobs cannot stop in time by themselves: start them by espalier submit, or give "
           "--max-time");
  }
  return finding;
}

// A look that fails on all ranks alike is a finding, not the end.
Finding look(const char* subject, const std::function<Finding()>& at) {
  try {
    return at();
  } catch (const SharedError& error) {
    return {subject, Finding::Kind::kFault, error.what(), "espalier cannot work here like this"};
  }
}

std::vector<Finding> look_at_everything(const Context& context, const std::string& folder) {
  const Comm& world = context.world;
  const std::int64_t bytes = context.options.bytes("bytes");
  const std::int64_t memory = context.memory_per_rank();
  return {look("ranks", [&] { return look_at_ranks(world); }),
          look("versions", [&] { return look_at_versions(world); }),
          look("MPI latency", [&] { return look_at_latency(world); }),
          look("MPI bandwidth", [&] { return look_at_bandwidth(world); }),
          look("compute", [&] { return look_at_compute(world); }),
          look("memory", [&] { return look_at_memory(world, memory); }),
          look("disk space", [&] { return look_at_space(world, folder); }),
          look("file locking", [&] { return look_at_locking(world, folder); }),
          look("parallel HDF5", [&] { return look_at_hdf5(world, folder, bytes); }),
          look("Slurm", [&] { return look_at_slurm(world); })};
}

std::string as_page(const std::vector<Finding>& findings) {
  std::ostringstream out;
  for (const Finding& finding : findings) {
    out << word_of(finding.kind) << std::string(8 - word_of(finding.kind).size(), ' ')
        << finding.subject << std::string(16 - finding.subject.size(), ' ') << finding.found
        << "\n";
    if (!finding.advice.empty()) {
      out << std::string(24, ' ') << "-> " << finding.advice << "\n";
    }
  }
  return std::move(out).str();
}

Json as_json(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"subject", finding.subject},
                    {"finding", word_of(finding.kind)},
                    {"found", finding.found},
                    {"advice", finding.advice},
                    {"figures", finding.figures}});
  }
  return {{"findings", list}};
}

ExitStatus preflight(Context& context) {
  const std::string folder = context.options.text("folder");
  if (context.options.bytes("bytes") < 1) {
    throw context.options.fault("bytes", "is less than one byte");
  }
  const auto findings = look_at_everything(context, folder);
  context.report.set("findings", as_json(findings)["findings"]);
  context.print(context.options.flag("json") ? as_json(findings).dump(2) + "\n"
                                             : as_page(findings));
  for (const Finding& finding : findings) {
    if (finding.kind == Finding::Kind::kFault) {
      throw SharedError(ExitStatus::kSystem,
                        text("this allocation is not fit: ", finding.subject, ": ", finding.found));
    }
  }
  return ExitStatus::kDone;
}

}  // namespace

Job preflight_job() {
  namespace po = boost::program_options;
  po::options_description options("preflight");
  // clang-format off
  options.add_options()
      ("folder", po::value<std::string>()->value_name("DIR")->default_value("."),
       "where inputs and outputs will lie: files are made and removed there")
      ("bytes", po::value<std::string>()->value_name("SIZE")->default_value("16MiB"),
       "written by each rank to measure the file system")
      ("json", po::bool_switch(), "print everything as JSON");
  // clang-format on
  return {"preflight",
          "try MPI, parallel HDF5, file locks and bandwidth on an allocation, and advise",
          "preflight [--folder DIR] [--bytes SIZE] [--json]",
          {"mpirun -n 4 espalier preflight --folder /scratch/me",
           "espalier submit -N 4 -n 16 -t 5 -- preflight --folder /scratch/me"},
          {},
          options,
          preflight};
}

}  // namespace espalier::jobs
