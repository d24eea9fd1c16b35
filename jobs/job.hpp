// What a job is, and what it is given.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/comm.hpp"
#include "framework/error.hpp"
#include "framework/grid.hpp"
#include "framework/timer.hpp"
#include "io/staged_file.hpp"
#include "jobs/options.hpp"
#include "jobs/report.hpp"

namespace espalier::jobs {

// Prints what was asked for: to stdout, by rank 0.
//   where    collective over `world`; `lines` matter on rank 0 only
//   throws   SharedError(kIoFailed) if stdout takes no more
void print_result(const Comm& world, std::string_view lines);

// What a job works with. Everything is borrowed for the run.
struct Context {
  const Comm& world;
  const Options& options;
  RunReport& report;
  PhaseTimes& times;

  io::OutputOptions output_options() const;  // --force, --compress
  // --memory-per-rank, or the least of what the nodes have for a rank. Collective over `world`.
  std::int64_t memory_per_rank() const;
  // --grid RxC; nothing for "auto". Local.
  //   throws   Error(kUsage)
  std::optional<GridShape> grid() const;
  void print(std::string_view lines) const { print_result(world, lines); }
};

// One job of the program. A job's `run` reads like a story; it throws SharedError for what is
// known to all ranks. With --dry-run it checks everything, says what it would do and stops.
struct Job {
  std::string name;
  std::string summary;                  // one line for `espalier --help`
  std::string usage;                    // "import --from FORMAT … -o FILE"
  std::vector<std::string> examples;    // command lines shown by --help
  std::vector<std::string> positional;  // option names filled by bare words, in order
  boost::program_options::options_description options;  // the job's own; common ones are added
  ExitStatus (*run)(Context&);
};

// The options every job takes: --threads --grid --memory-per-rank --config --print-config
// --dry-run --report --seed --force --compress --quiet --verbose --log-dir --help.
boost::program_options::options_description common_options();

// One function a job, each in its own file.
Job import_job();
Job export_job();
Job generate_job();
Job prune_job();
Job convert_job();
Job infer_job();
Job evaluate_job();
Job compare_job();
Job inspect_job();
Job verify_job();
Job bench_job();

// Every job, in the order of `espalier --help`.
std::vector<Job> all_jobs();

// Runs the program on `world`: finds the job, parses, runs, writes the run report.
//   where    collective over `world`
ExitStatus run_program(const Comm& world, const std::vector<std::string>& arguments);

}  // namespace espalier::jobs
