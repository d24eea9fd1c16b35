#include "jobs/output_plan.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "framework/log.hpp"
#include "io/unit_record.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {

bool begin_output(Context& context, OutputPlan& plan) {
  const io::OutputOptions options = context.output_options();
  const bool exists = io::output_exists(context.world, plan.path);
  const bool dry_run = context.options.flag("dry-run");
  if (!exists) {
    // A folder that cannot be written to is better known before large inputs are read.
    io::check_output(context.world, plan.path, "", options);
  }
  if (plan.digest_inputs && (exists || !dry_run)) {
    const PhaseTimer timer(context.times, Phase::kRead);
    plan.provenance.inputs = plan.digest_inputs();
  }
  const std::string digest = io::job_digest(plan.provenance);
  if (exists && io::check_output(context.world, plan.path, digest, options) ==
                    io::OutputState::kAlreadyDone) {
    io::UnitRecord::remove_leftover(context.world, plan.path, digest);
    log_info(text(plan.path, " has been written by the same job already; nothing to do"));
    return false;
  }
  if (dry_run) {
    const std::string nnz =
        plan.about_nnz < 0 ? "" : text(", about ", grouped(plan.about_nnz), " non-zeros");
    log_info(text("would write ", plan.path, ": ", plan.what, nnz));
    return false;
  }
  context.report.set("job_digest", digest);
  return true;
}

void end_output(Context& context, const OutputPlan& plan, const Made& made) {
  const double seconds = std::max(made.seconds, 1e-9);
  context.report.set("nnz", made.nnz);
  context.report.set("seconds", made.seconds);
  context.report.set("edges_per_second", static_cast<double>(made.nnz) / seconds);
  std::string rate;
  if (made.input_bytes > 0) {
    const double per_second = static_cast<double>(made.input_bytes) / seconds;
    context.report.set("input_bytes", made.input_bytes);
    context.report.set("input_bytes_per_second", per_second);
    rate = text(", ", rounded(per_second / 1e6), " MB/s of input");
  }
  context.report.add_bytes_written(made.output_bytes);
  const std::int64_t bytes = context.world.sum(made.output_bytes);
  log_info(text("wrote ", plan.path, ": ", plan.what, ", ", grouped(made.nnz), " non-zeros, ",
                spelled_bytes(bytes), " in ", rounded(made.seconds), " s", rate));
}

void report_batch(Context& context, std::int64_t samples, std::int64_t features) {
  context.report.set("samples", samples);
  context.report.set("rows", samples);
  context.report.set("features", features);
}

float float_option(const Options& options, const std::string& name) {
  const auto value = static_cast<float>(options.number(name));
  if (!std::isfinite(value)) {
    throw options.fault(name, "does not fit into float32");
  }
  return value;
}

io::MatrixFormat layout_option(const Options& options) {
  return options.choice("layout", {"csr", "triplets"}) == "csr" ? io::MatrixFormat::kCsr
                                                                : io::MatrixFormat::kCoo;
}

std::string counted(std::int64_t count, const std::string& thing) {
  return text(grouped(count), " ", thing, count == 1 ? "" : "s");
}

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

}  // namespace espalier::jobs
