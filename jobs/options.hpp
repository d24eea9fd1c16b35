// The command line, environment and configuration file of one job.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/error.hpp"

namespace espalier::jobs {

struct Job;

// Sizes such as "1536", "1.5GiB", "64KiB"; throws Error(kUsage) naming `option`.
std::int64_t parse_bytes(std::string_view option, std::string_view spelled);
// "90", "90.5", "1:30:00", "2-00:00:00" in seconds; throws Error(kUsage) naming `option`.
double parse_seconds(std::string_view option, std::string_view spelled);

// The options of one job after command line > ESPALIER_* > --config > default.
// Asking for a name the job has not declared is our bug.
class Options {
 public:
  // Parses; `arguments` follow the job's name.
  //   where    pure but for reading the environment and the configuration file
  //   throws   Error: kUsage (unknown, abbreviated, missing, malformed), kBadConfig (a bad key in
  //            the configuration file or an unknown ESPALIER_* variable), kNoInput (no such
  //            configuration file)
  static Options parse(const Job& job, const std::vector<std::string>& arguments);

  bool has(const std::string& name) const;  // given somewhere, or has a default
  bool given(const std::string& name) const;  // given somewhere, default does not count
  std::string text(const std::string& name) const;
  std::vector<std::string> texts(const std::string& name) const;
  std::int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;
  bool flag(const std::string& name) const;
  std::int64_t bytes(const std::string& name) const;
  // The value if it is one of `allowed`; throws Error(kUsage) listing them.
  std::string choice(const std::string& name, const std::vector<std::string>& allowed) const;

  // All options that are set, as a configuration file that --config accepts.
  std::string as_config() const;

 private:
  boost::program_options::variables_map values_;
  std::vector<std::string> names_;
};

}  // namespace espalier::jobs
