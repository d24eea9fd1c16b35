// One run of the program: from the command line to the run report.
#include <algorithm>
#include <cstdio>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/memory.hpp"
#include "framework/provenance.hpp"
#include "jobs/cluster_jobs.hpp"
#include "jobs/help.hpp"
#include "jobs/job.hpp"
#include "jobs/machine.hpp"
#include "jobs/pages.hpp"
#include "kernels/storage.hpp"

namespace espalier::jobs {
namespace {

// A NUL can be part of no argument and no variable.
constexpr char kBetween = '\0';

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) {
    all += word + kBetween;
  }
  return all;
}

void check_same_arguments(const Comm& world, const std::vector<std::string>& arguments) {
  const std::string mine = joined(arguments);
  const std::string expected = world.broadcast_string(mine, 0);
  locally(world, "comparing command lines", [&] {
    if (mine != expected) {
      throw Error(ExitStatus::kUsage,
                  text("rank ", world.rank(), " was started with other arguments than rank 0"));
    }
  });
}

// Rank 0's variables count for all. Launchers forward none to other nodes, so a rank may lack some;
// one that has its own value was meant to differ, which options cannot.
std::map<std::string, std::string> share_environment(const Comm& world) {
  const auto mine = environment_options();
  std::string whole;
  for (const auto& [name, spelled] : mine) {
    whole += name + "=" + spelled + kBetween;
  }
  whole = world.broadcast_string(whole, 0);
  std::map<std::string, std::string> shared;
  for (std::size_t at = 0; at < whole.size();) {
    const std::string entry(whole.c_str() + at);
    const auto equals = entry.find('=');
    shared.emplace(entry.substr(0, equals), entry.substr(equals + 1));
    at += entry.size() + 1;
  }
  locally(world, "comparing environments", [&] {
    for (const auto& [name, spelled] : mine) {
      if (!shared.contains(name) || shared.at(name) != spelled) {
        throw Error(ExitStatus::kBadConfig,
                    text("variable ", name, " is '", spelled, "' on rank ", world.rank(),
                         " but not on rank 0; it must be the same everywhere"));
      }
    }
  });
  return shared;
}

std::set<std::string> names_of_all(const std::vector<Job>& jobs) {
  std::set<std::string> names;
  for (const Job& job : jobs) {
    names.insert(job.positional.begin(), job.positional.end());
    for (const auto& option : job.options.options()) {
      names.insert(option->long_name());
    }
  }
  return names;
}

Options parse_together(const Comm& world, const Job& job, const std::vector<Job>& jobs,
                       const std::vector<std::string>& arguments) {
  Surroundings surroundings{share_environment(world), {}, names_of_all(jobs)};
  const auto file = locally(world, "reading the command line", [&] {
    return Options::config_file(job, arguments, surroundings.environment);
  });
  if (file) {
    on_root(world, "reading the configuration file",
            [&] { surroundings.config_text = read_config_file(*file); });
    surroundings.config_text = world.broadcast_string(surroundings.config_text, 0);
  }
  return locally(world, "reading the options",
                 [&] { return Options::parse(job, arguments, surroundings); });
}

// Sets up what every job needs.
void prepare(const Comm& world, const Options& options, RunReport& report) {
  if (options.flag("quiet") && options.flag("verbose")) {
    throw options.fault("quiet", "goes against --verbose");
  }
  const Verbosity verbosity = options.flag("quiet")     ? Verbosity::kQuiet
                              : options.flag("verbose") ? Verbosity::kVerbose
                                                        : Verbosity::kNormal;
  const bool logs = options.has("log-dir") && !options.flag("dry-run");
  locally(world, "starting the log",
          [&] { start_log(world.rank(), verbosity, logs ? options.text("log-dir") : ""); });
  constexpr std::int64_t kMostThreads = 4096;
  std::optional<std::int64_t> wanted;
  if (options.has("threads")) {
    wanted = options.integer("threads", 1, kMostThreads);
  }
  report.set("threads", set_threads_everywhere(world, wanted));
  kernels::storage_advice = advise_huge_pages;
  if (options.choice("reproducible", {"on", "off"}) == "on") restrict_targets_everywhere(world);
}

void describe_run(const Job& job, const Options& options, const std::vector<std::string>& arguments,
                  RunReport& report) {
  std::vector<std::string> argv = {"espalier"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  nlohmann::json config = nlohmann::json::object();
  for (const auto& [name, spelled] : options.settings()) {
    auto& place = config[name];
    if (place.is_null()) {
      place = spelled;
    } else {
      if (place.is_string()) {
        place = nlohmann::json::array({place});
      }
      place.push_back(spelled);
    }
  }
  report.set("job", job.name);
  report.set("argv", std::move(argv));
  report.set("config", std::move(config));
  report.set("started", utc_now());
}

// Reports a failed run. Nothing that goes wrong here may hide what went wrong there.
void report_failure(const Context& context, const std::string& path, const Failure& failure,
                    bool all_know) {
  const auto outcome = static_cast<int>(failure.status);
  try {
    if (all_know) {
      context.report.write(context.world, context.times, path, outcome, failure.message);
    } else {
      context.report.write_alone(context.world, context.times, path, outcome, failure.message);
    }
  } catch (const std::exception& error) {
    log_warning(error.what());
  }
}

ExitStatus run_reported(const Job& job, Context& context) {
  const bool wanted = context.options.has("report") && !context.options.flag("dry-run");
  if (!wanted) {
    return job.run(context);
  }
  const std::string path = context.options.text("report");
  const bool has_output =
      job.options.find_nothrow("out", false) != nullptr && context.options.given("out");
  check_report_path(context.world, path, has_output ? context.options.text("out") : "");
  try {
    const ExitStatus status = job.run(context);
    context.report.write(context.world, context.times, path, static_cast<int>(status), "");
    return status;
  } catch (const SharedError& error) {
    report_failure(context, path, describe(error), error.known_to_all(context.world.ranks()));
    throw;
  } catch (const std::exception& error) {
    report_failure(context, path, describe(error), context.world.ranks() == 1);
    throw;
  }
}

ExitStatus run_job(const Comm& world, const Job& job, const std::vector<Job>& jobs,
                   const std::vector<std::string>& arguments) {
  const std::vector<std::string> own(arguments.begin() + 1, arguments.end());
  const Options options = parse_together(world, job, jobs, own);
  if (options.flag("print-config")) {
    print_result(world, options.as_config());
    return ExitStatus::kDone;
  }
  options.check_complete();
  RunReport report;
  PhaseTimes times;
  describe_run(job, options, arguments, report);
  prepare(world, options, report);
  Context context{world, options, report, times};
  return run_reported(job, context);
}

bool asks_for_help(const std::vector<std::string>& arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::any_of(arguments.begin(), end,
                     [](const std::string& word) { return word == "--help" || word == "-h"; });
}

}  // namespace

std::vector<Job> all_jobs() {
  return {import_job(), export_job(), generate_job(), prune_job(),     convert_job(),
          infer_job(),  merge_job(),  evaluate_job(), compare_job(),   inspect_job(),
          verify_job(), plan_job(),   bench_job(),    preflight_job(), report_job()};
}

ExitStatus run_program(const Comm& world, const std::vector<std::string>& arguments) {
  check_same_arguments(world, arguments);
  const std::vector<Job> jobs = all_jobs();
  if (arguments.empty()) {
    if (world.rank() == 0) {
      std::fputs(program_help(jobs).c_str(), stderr);
    }
    return ExitStatus::kUsage;
  }
  const auto job = std::find_if(jobs.begin(), jobs.end(),
                                [&](const Job& one) { return one.name == arguments.front(); });
  if (job != jobs.end()) {
    if (asks_for_help(arguments)) {
      print_result(world, job_help(*job));
      return ExitStatus::kDone;
    }
    return run_job(world, *job, jobs, arguments);
  }
  if (arguments.front() == "--help" || arguments.front() == "-h") {
    print_result(world, program_help(jobs));
    return ExitStatus::kDone;
  }
  if (arguments.front() == "--version") {
    restrict_targets_everywhere(world);
    print_result(world, version_text());
    return ExitStatus::kDone;
  }
  std::string names;
  for (const Job& one : jobs) {
    names += (names.empty() ? "" : ", ") + one.name;
  }
  for (const auto& [name, summary] : script_jobs()) {
    names += ", " + name;
  }
  throw SharedError(ExitStatus::kUsage,
                    text("unknown job '", arguments.front(), "'; the jobs are ", names));
}

}  // namespace espalier::jobs
