#include "jobs/unit_run.hpp"

#include <algorithm>
#include <limits>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/timer.hpp"
#include "jobs/spelling.hpp"
#include "jobs/unit_bytes.hpp"

namespace espalier::jobs {
namespace {

double seconds_option(const Options& options, const std::string& name) {
  const double seconds = options.seconds(name);
  if (seconds < 0) {
    throw options.fault(name, "is negative");
  }
  return seconds;
}

StopOptions stop_options(const Options& options) {
  StopOptions stop;
  stop.save_interval_seconds = seconds_option(options, "save-interval");
  if (options.has("max-time")) {
    stop.max_seconds = seconds_option(options, "max-time");
  }
  stop.end_unix_time = slurm_end_time();
  return stop;
}

double stall_timeout(const Options& options) {
  const double seconds = seconds_option(options, "stall-timeout");
  return seconds > 0 ? seconds : std::numeric_limits<double>::infinity();
}

std::int64_t size_of_all(const std::vector<Range>& ranges) {
  std::int64_t size = 0;
  for (const Range& range : ranges) {
    size += range.size();
  }
  return size;
}

}  // namespace

void add_unit_options(boost::program_options::options_description& options) {
  namespace po = boost::program_options;
  const auto time = [] { return po::value<std::string>()->value_name("TIME"); };
  // clang-format off
  options.add_options()
      ("max-time", time(),
       "stop in time to have saved when TIME has passed since the start, with 75; the same command "
       "goes on from there")
      ("save-interval", time()->default_value("60"),
       "save what is finished every TIME; 0: after every unit of work")
      ("stall-timeout", time()->default_value("1800"),
       "end with 71 if a rank makes no progress for TIME; 0: never")
      ("no-resume", po::bool_switch(), "drop what an earlier run has saved, and start afresh");
  // clang-format on
}

UnitRun::UnitRun(Context& context, const UnitJob& job)
    : context_(context),
      what_(job.what),
      items_(job.items),
      control_(stop_options(context.options)),
      watchdog_(context.world.rank(), stall_timeout(context.options)),
      record_(context.world,
              {job.path, job.provenance, job.items, !context.options.flag("no-resume"), job.cut,
               job.most_pending_bytes}) {
  leaves_record_ = record_.earlier_runs() > 0;
  context_.report.set("restarts", record_.earlier_runs());
  report_units();
  if (record_.earlier_runs() > 0) {
    log_info(text("resuming ", job.path, ": ", grouped(size_of_all(record_.finished())), " of ",
                  grouped(items_), " ", what_, " are done"));
  }
}

std::vector<Range> UnitRun::left() const { return gaps_between(record_.finished(), items_); }

void UnitRun::report_units() {
  const auto skipped = std::ssize(record_.finished());
  const auto held = context_.world.sum(static_cast<std::int64_t>(record_.units()));
  context_.report.set("units_skipped", skipped);
  context_.report.set("units_done", held - skipped);
  context_.report.set("saves", saves_);
  context_.report.set("save_seconds", save_seconds_);
}

void UnitRun::save() {
  const PhaseTimer timer(context_.times, Phase::kWrite);
  const double start = now_seconds();
  if (before_save_) {
    locally(context_.world, "saving finished units", before_save_);
  }
  record_.save();
  leaves_record_ = context_.world.sum(static_cast<std::int64_t>(record_.units())) > 0;
  const double seconds = now_seconds() - start;
  control_.note_saved(seconds);
  ++saves_;
  save_seconds_ += seconds;
}

void UnitRun::after_unit() {
  const Order order = control_.next_order(context_.world, record_.wants_save());
  if (order == Order::kGoOn) {
    return;
  }
  save();
  if (order == Order::kStop) {
    report_units();
    throw SharedError(
        ExitStatus::kStoppedEarly,
        text("stopped early by ", control_.reason(),
             !leaves_record_ ? std::string(", before anything was finished that could be "
                                           "saved; the same command starts again")
                             : text(" and saved in ", record_.folder(),
                                    "; the same command goes on from there")));
  }
  log_detail(
      text("saved what is finished; saving has taken ", rounded(save_seconds_), " s so far"));
}

bool UnitRun::finished(Range items) const {
  const std::vector<Range>& found = record_.finished();
  std::int64_t end = items.begin;
  for (auto next = std::lower_bound(found.begin(), found.end(), items.begin,
                                    [](const Range&a, std::int64_t at) { return a.end <= at; });
       next != found.end() && next->begin <= end && end < items.end; ++next) {
    end = next->end;
  }
  return end >= items.end;
}

kernels::CsrRows UnitRun::take_rows(Range items, const std::function<kernels::CsrRows()>& make) {
  if (items.empty()) {
    return {};
  }
  if (!record_.has(items)) {
    kernels::CsrRows rows = make();
    std::vector<std::byte> bytes;
    put_rows(bytes, rows);
    record_.add(items, bytes);
    return rows;
  }
  const std::vector<std::byte> bytes = record_.read_whole(items);
  std::span<const std::byte> rest = bytes;
  return jobs::take_rows(rest);
}

void UnitRun::after_unit(Range items) {
  if (!finished(items)) {
    after_unit();
  }
}

void UnitRun::attempt(const std::function<void()>& work) {
  try {
    work();
  } catch (const SharedError& error) {
    if (error.status() == ExitStatus::kStoppedEarly) {
      after_unit();  // its order is to stop
    }
    throw;
  }
}

void UnitRun::give_up() const {
  throw Error(ExitStatus::kStoppedEarly,
              text("stopped early by ", control_.own_reason(),
                   ", before anything was finished in this run; the same command goes on"));
}

void UnitRun::check_time() const {
  if (control_.gives_up_unit()) {
    give_up();
  }
}

void UnitRun::check_request() const {
  if (control_.request_waits()) {
    give_up();
  }
}

void UnitRun::finish() {
  report_units();
  record_.remove();
}

}  // namespace espalier::jobs
