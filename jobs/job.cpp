#include "jobs/job.hpp"

#include <cstdio>
#include <string_view>

#include "framework/agree.hpp"
#include "framework/memory.hpp"

namespace espalier::jobs {

namespace po = boost::program_options;

io::OutputOptions Context::output_options() const {
  return {options.flag("force"), options.flag("compress")};
}

std::optional<GridShape> Context::grid() const {
  const std::string spelled = options.text("grid");
  return spelled == "auto" ? std::nullopt : std::optional(parse_grid(spelled));
}

std::int64_t Context::memory_per_rank() const {
  std::int64_t bytes = 0;
  if (options.has("memory-per-rank")) {
    bytes = options.bytes("memory-per-rank");
  } else {
    bytes = default_memory_per_rank(world.split_node().ranks());
    world.min(std::span(&bytes, 1));
  }
  return bytes;
}

void print_result(const Comm& world, std::string_view lines) {
  on_root(world, "printing the result", [&] {
    const bool printed = std::fwrite(lines.data(), 1, lines.size(), stdout) == lines.size() &&
                         std::fflush(stdout) == 0;
    if (!printed) {
      throw Error(ExitStatus::kIoFailed, "printing the result: standard output takes no more");
    }
  });
}

boost::program_options::options_description common_options() {
  po::options_description common("Options of every job", 100);
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  // clang-format off
  common.add_options()
      ("threads", po::value<std::int64_t>()->value_name("N"),
       "threads of each rank; without it, the cores shared by the ranks of a node")
      ("grid", word("RxC")->default_value("auto"),
       "R row shards of every layer x C groups of samples; R x C is the number of ranks")
      ("memory-per-rank", word("SIZE"),
       "what a rank may use, as in 1536MiB; without it, 0.8 of what the node has free, shared")
      ("seed", po::value<std::int64_t>()->value_name("S")->default_value(0),
       "of everything random")
      ("reproducible", word("on|off")->default_value("on"),
       "on: ranks use the SIMD instructions that all of them have, so that unlike machines give the "
       "same bits; off: each uses its best")
      ("force", po::bool_switch(), "replace an output that exists")
      ("compress", po::bool_switch(), "shuffle and deflate the output")
      ("dry-run", po::bool_switch(), "check everything, say what would be done, write nothing")
      ("config", word("FILE"), "read options from FILE, as --print-config prints them")
      ("print-config", po::bool_switch(), "print all options as a configuration file, and stop")
      ("report", word("FILE.json"), "write a run report, also if the run fails")
      ("log-dir", word("DIR"), "write the log of each rank to DIR/rank-NNNN.log")
      ("quiet", po::bool_switch(), "only warnings and errors on stderr")
      ("verbose", po::bool_switch(), "more on stderr")
      ("help,h", po::bool_switch(), "print this help, and stop");
  // clang-format on
  return common;
}

}  // namespace espalier::jobs
