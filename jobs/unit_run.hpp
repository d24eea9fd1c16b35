// What jobs that can be stopped and resumed share: the record of finished units, when it is saved,
// when the job stops.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "framework/stop.hpp"
#include "framework/watchdog.hpp"
#include "io/unit_record.hpp"
#include "jobs/job.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Declares --max-time, --save-interval, --stall-timeout and --no-resume.
void add_unit_options(boost::program_options::options_description& options);

struct UnitJob {
  std::string what;  // the items: "samples"
  std::string path;  // of the output
  io::Provenance provenance;
  std::int64_t items = 0;
  // As in UnitRecord::Job.
  std::vector<std::int64_t> cut = {};
  std::int64_t most_pending_bytes = std::int64_t{64} << 20;
};

// One run of such a job, from before its first unit until its output is complete.
class UnitRun {
 public:
  // Borrows `context`.
  //   where    collective
  //   throws   SharedError as UnitRecord, or of an option
  UnitRun(Context& context, const UnitJob& job);

  io::UnitRecord& record() noexcept { return record_; }
  const io::UnitRecord& record() const noexcept { return record_; }
  // Whether earlier runs have finished all of `items`; the same on every rank.
  bool finished(Range items) const;
  // The rows of a unit, as they are in the record; `make` brings them if no run has finished it,
  // and they are kept. Nothing for an empty unit. Local.
  kernels::CsrRows take_rows(Range items, const std::function<kernels::CsrRows()>& make);
  // What no run has finished yet, ascending.
  std::vector<Range> left() const;
  std::int64_t items() const noexcept { return items_; }

  // Called by all after each unit, whether they had one or not: saves or stops if it is time to.
  //   where    collective
  //   throws   SharedError: kStoppedEarly after a save; what UnitRecord::save throws
  void after_unit();
  // The same where units stay in their places: `items` are those of all ranks together. Nothing is
  // done if earlier runs have finished all of them, so that every run gets further.
  void after_unit(Range items);

  // Runs `work`, which is collective and asks check_time() now and then. If there is no time for
  // it, what has been finished before is saved.
  //   where    collective
  //   throws   SharedError: kStoppedEarly; what `work` throws
  void attempt(const std::function<void()>& work);

  // Whether the unit at hand is to be given up, because there is no time for it. Local.
  bool gives_up_unit() const { return control_.gives_up_unit(); }
  // Within `locally`, between pieces of work that leave nothing behind.
  //   throws   Error(kStoppedEarly) if gives_up_unit()
  void check_time() const;
  // The same for signals only: where the work of earlier runs is looked at, so that with however
  // little time a run gets to work of its own.
  void check_request() const;

  // What each save begins with, on every rank: what units speak of has to be safe before they are.
  // It is local, may fail and may add units.
  void before_save(std::function<void()> work) { before_save_ = std::move(work); }
  // Whether a later run finds something that is saved. Local.
  bool leaves_record() const noexcept { return leaves_record_; }

  // The output is complete.
  //   where    collective
  void finish();

 private:
  void save();
  void report_units();
  [[noreturn]] void give_up() const;

  Context& context_;
  std::string what_;
  std::int64_t items_;
  StopControl control_;
  Watchdog watchdog_;
  io::UnitRecord record_;
  std::function<void()> before_save_;
  bool leaves_record_ = false;
  std::int64_t saves_ = 0;
  double save_seconds_ = 0;  // of all saves
};

}  // namespace espalier::jobs
