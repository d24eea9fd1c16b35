// The run report: who ran what, where, how long, with which outcome (keys: README, "Run report").
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "framework/comm.hpp"
#include "framework/timer.hpp"

namespace espalier::jobs {

// Asks, before any work, whether a report may be written to `path`: a report that is there is
// replaced, anything else is not. `output` is that of the job, or empty.
//   where    collective over `world`
//   throws   SharedError: kCannotCreate if the folder is missing or something else is at `path`,
//            kUsage if it is `output`, kNoPermission if the folder is not writable
void check_report_path(const Comm& world, const std::string& path, const std::string& output);

// Flat JSON, filled by the job on every rank alike, written by rank 0.
class RunReport {
 public:
  // Any key beyond the common ones: report.set("samples", 60000).
  void set(const std::string& key, nlohmann::json value) { fields_[key] = std::move(value); }
  // Counts of this rank, summed over ranks when the report is written.
  void add_bytes_read(std::int64_t bytes) { bytes_read_ += bytes; }
  void add_bytes_written(std::int64_t bytes) { bytes_written_ += bytes; }
  void add_exchange(std::int64_t bytes, std::int64_t messages) {
    bytes_exchanged_ += bytes;
    messages_ += messages;
  }

  // Adds the common keys (design: version, git, hosts, ranks, phases, peak_rss_bytes…) and writes
  // `path` through a temporary name, whatever was there. `outcome` is the exit status, `message`
  // the error if any.
  //   where    collective over `world`
  //   throws   SharedError if the file cannot be written
  void write(const Comm& world, const PhaseTimes& times, const std::string& path, int outcome,
             const std::string& message);
  // The same from what this rank knows alone, when the others cannot be asked: they may be waiting
  // for this one. The figures are those of this rank, the key `alone` names it.
  //   where    local
  //   throws   Error if the file cannot be written
  void write_alone(const Comm& world, const PhaseTimes& times, const std::string& path, int outcome,
                   const std::string& message);

 private:
  void add_common(int outcome, const std::string& message);

  nlohmann::json fields_ = nlohmann::json::object();
  std::int64_t bytes_read_ = 0, bytes_written_ = 0, bytes_exchanged_ = 0, messages_ = 0;
};

}  // namespace espalier::jobs
