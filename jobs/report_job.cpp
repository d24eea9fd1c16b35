// espalier report: a page with pictures from run reports.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/staged_file.hpp"
#include "jobs/cluster_jobs.hpp"
#include "jobs/run_page.hpp"

namespace espalier::jobs {
namespace {

// A report has no more than some lines a layer and rank.
constexpr std::uintmax_t kMostBytes = std::uintmax_t{256} << 20;

NamedRun read_run(const std::string& file) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(file, error);
  if (error) {
    throw_errno(error.value(), "reading the run report", file, ExitStatus::kNoInput);
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    throw_errno(errno, "reading the run report", file, ExitStatus::kNoInput);
  }
  if (bytes > kMostBytes) {
    throw Error(ExitStatus::kBadData, text(file, " has ", bytes, " bytes: no run report"));
  }
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  auto report = nlohmann::json::parse(whole, nullptr, false);
  if (!report.is_object() || !report.contains("job") || !report.contains("phases")) {
    throw Error(ExitStatus::kBadData,
                text(file,
                     " is no run report: it is no JSON object with the keys 'job' and "
                     "'phases', as --report writes it"));
  }
  return {fs::path(file).stem().string(), std::move(report)};
}

std::string make_output(const std::vector<std::string>& files, bool picture) {
  std::vector<NamedRun> runs;
  for (const std::string& file : files) {
    runs.push_back(read_run(file));
  }
  const std::string made = picture ? scaling_picture(runs) : run_page(runs);
  if (made.empty()) {
    throw Error(ExitStatus::kBadData,
                "a picture of speed over ranks needs reports of infer from two numbers of ranks");
  }
  return made;
}

ExitStatus report(Context& context) {
  const Comm& world = context.world;
  const std::string target = context.options.text("out");
  const auto files = context.options.texts("reports");
  std::string made;
  on_root(world, "reading the run reports",
          [&] { made = make_output(files, target.ends_with(".svg")); });
  io::check_output(world, target, "", context.output_options());
  if (context.options.flag("dry-run")) {
    log_info(text("would write ", target, " from ", files.size(), " run reports"));
    return ExitStatus::kDone;
  }
  io::write_whole_file(world, target, std::as_bytes(std::span(made)), context.output_options());
  log_info(text("wrote ", target, " from ", files.size(), " run reports"));
  return ExitStatus::kDone;
}

}  // namespace

Job report_job() {
  namespace po = boost::program_options;
  po::options_description options("report");
  // clang-format off
  options.add_options()
      ("reports", po::value<std::vector<std::string>>()->required()->multitoken(),
       "run reports, as --report writes them")
      ("out,o", po::value<std::string>()->value_name("FILE")->required(),
       "page to write, whole in itself; a name that ends in .svg: only speed over ranks");
  // clang-format on
  return {"report",
          "a page with pictures from run reports",
          "report RUN.json... -o PAGE.html",
          {"espalier report run.json -o run.html",
           "espalier report ranks-1.json ranks-2.json ranks-4.json -o scaling.svg"},
          {"reports"},
          options,
          report};
}

}  // namespace espalier::jobs
