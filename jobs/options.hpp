// The command line, environment and configuration file of one job.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/error.hpp"

namespace espalier::jobs {

struct Job;

// Sizes such as "1536", "1.5GiB", "64KiB"; throws Error(kUsage) naming `option`.
std::int64_t parse_bytes(std::string_view option, std::string_view spelled);
// "90", "90.5", "1:30:00", "2-00:00:00" in seconds; throws Error(kUsage) naming `option`.
double parse_seconds(std::string_view option, std::string_view spelled);

// What options depend on besides the command line.
struct Surroundings {
  std::map<std::string, std::string>
      environment;                    // the ESPALIER_* variables, with their full names
  std::string config_text;            // what the configuration file holds
  std::set<std::string> other_names;  // options of other jobs: fine as variables, without effect
};

// The ESPALIER_* variables of this process but the reserved ESPALIER_DATA.
std::map<std::string, std::string> environment_options();

// The bytes of a configuration file; throws Error(kNoInput, kNoPermission).
std::string read_config_file(const std::string& file);

// The options of one job after command line > ESPALIER_* > --config > default.
// Asking for a name the job has not declared is our bug (BugError). Asking for one that is not set,
// or whose value is not of the kind asked for, is a fault known to all ranks, since all hold the
// same options:
//   throws   SharedError: kUsage, or kBadConfig where the value came from a variable or the
//            configuration file; names the option, what was found and what would be right
class Options {
 public:
  // Parses; `arguments` follow the job's name. Reads environment and configuration file itself.
  //   where    local
  //   throws   Error: kUsage (unknown, abbreviated, given twice, malformed), kBadConfig (a bad key
  //            in the configuration file or an unknown ESPALIER_* variable), kNoInput (no such
  //            configuration file)
  static Options parse(const Job& job, const std::vector<std::string>& arguments);
  // The same from surroundings that somebody else has read.
  //   where    pure
  static Options parse(const Job& job, const std::vector<std::string>& arguments,
                       const Surroundings& surroundings);
  // The configuration file that `arguments` or `environment` name, if any.
  //   where    pure
  //   throws   Error(kUsage) if the command line is malformed
  static std::optional<std::string> config_file(
      const Job& job, const std::vector<std::string>& arguments,
      const std::map<std::string, std::string>& environment);

  bool has(const std::string& name) const;    // given somewhere, or has a default
  bool given(const std::string& name) const;  // given somewhere, default does not count
  std::string text(const std::string& name) const;
  std::vector<std::string> texts(const std::string& name) const;
  std::int64_t integer(const std::string& name,
                       std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t most = std::numeric_limits<std::int64_t>::max()) const;
  double number(const std::string& name) const;  // finite
  bool flag(const std::string& name) const;      // false if not set
  std::int64_t bytes(const std::string& name) const;
  double seconds(const std::string& name) const;
  // The value if it is one of `allowed`, which the message lists otherwise.
  std::string choice(const std::string& name, const std::vector<std::string>& allowed) const;

  // Checks that every option declared as required is set.
  //   throws   SharedError(kUsage) naming the first one that is not, with the usage
  void check_complete() const;

  // A fault of the value of `name`, to be thrown: "--name 12: <what>", with the fitting status.
  SharedError fault(const std::string& name, std::string_view what) const;

  // Name and value of all options that are set, in the order of --help; several values of one
  // option one after the other. Left out: help, config, print-config.
  std::vector<std::pair<std::string, std::string>> settings() const;
  // The same as a configuration file that --config accepts.
  std::string as_config() const;

 private:
  enum class Origin { kCommandLine, kEnvironment, kConfig, kDefault };
  struct Value {
    Origin origin = Origin::kDefault;
    std::string place;  // "--threads", "ESPALIER_THREADS", "threads in run.ini"
    std::vector<std::string> texts;
  };
  struct Parser;

  const Value& value(const std::string& name) const;
  // The only text of an option that is set.
  const std::string& single(const std::string& name) const;

  std::string job_, usage_;
  std::vector<std::string> names_;  // declared, in the order of --help
  std::vector<std::string> positional_, required_;
  std::map<std::string, Value> values_;  // those that are set
};

}  // namespace espalier::jobs
