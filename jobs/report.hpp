// The run report: who ran what, where, how long, with which outcome (keys: README, "Run report").
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "framework/comm.hpp"
#include "framework/timer.hpp"

namespace espalier::jobs {

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
  // `path` through a temporary name. `outcome` is the exit status, `message` the error if any.
  //   where    collective over `world`
  //   throws   SharedError if the file cannot be written
  void write(const Comm& world, const PhaseTimes& times, const std::string& path, int outcome,
             const std::string& message);

 private:
  nlohmann::json fields_ = nlohmann::json::object();
  std::int64_t bytes_read_ = 0, bytes_written_ = 0, bytes_exchanged_ = 0, messages_ = 0;
};

}  // namespace espalier::jobs
