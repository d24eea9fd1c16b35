// What jobs that make one file do before and after their work.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/binsparse.hpp"
#include "io/staged_file.hpp"
#include "jobs/job.hpp"

namespace espalier::jobs {

struct OutputPlan {
  std::string path;
  io::Provenance provenance;    // its inputs are filled in by begin_output
  std::string what;             // "a network of 120 layers, …": what is going to be written
  std::int64_t about_nnz = -1;  // how many non-zeros it will have, as far as that is known before
  // Digests of the inputs; collective, may read them whole. Empty if there are no inputs.
  std::function<std::vector<std::string>()> digest_inputs;
};

// Asks whether there is anything to do, before any work: not if the same job has finished there
// already, and not with --dry-run, which says what would be written.
//   where    collective
//   throws   SharedError as io::check_output
bool begin_output(Context& context, OutputPlan& plan);

// What was made, for the run report and the last line on stderr.
struct Made {
  std::int64_t nnz = 0;
  double seconds = 0;             // of the whole job
  std::int64_t input_bytes = 0;   // of all ranks, 0 if the job has no inputs
  std::int64_t output_bytes = 0;  // of this rank
};

//   where    collective
void end_output(Context& context, const OutputPlan& plan, const Made& made);

// What every job that makes a batch reports.
void report_batch(Context& context, std::int64_t samples, std::int64_t features);

// A number option as float32, and --layout csr|triplets.
//   throws   SharedError if it does not fit, or is another word
float float_option(const Options& options, const std::string& name);
io::MatrixFormat layout_option(const Options& options);

// "3 layers", "1 layer".
std::string counted(std::int64_t count, const std::string& thing);

// The folder that `path` lies in, where side files go.
std::string folder_of(const std::string& path);

}  // namespace espalier::jobs
