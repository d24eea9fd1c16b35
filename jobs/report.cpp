#include "jobs/report.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

#include "framework/agree.hpp"
#include "framework/memory.hpp"
#include "framework/provenance.hpp"
#include "io/hdf5_version.hpp"
#include "jobs/spelling.hpp"
#include "kernels/target.hpp"

namespace espalier::jobs {
namespace {

using nlohmann::json;

constexpr const char* kDoing = "writing the run report";

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

void save(const json& fields, const std::string& path) {
  const std::string part = path + ".part";
  std::unique_ptr<std::FILE, CloseFile> file(std::fopen(part.c_str(), "w"));
  if (!file) {
    throw_errno(errno, kDoing, path, ExitStatus::kCannotCreate);
  }
  // Names of files need not be UTF-8.
  const std::string content = fields.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  const bool written =
      std::fwrite(content.data(), 1, content.size(), file.get()) == content.size() &&
      std::fflush(file.get()) == 0 && fsync(fileno(file.get())) == 0;
  const int error_number = errno;
  file.reset();
  if (!written || std::rename(part.c_str(), path.c_str()) != 0) {
    const int why = written ? errno : error_number;
    std::remove(part.c_str());
    throw_errno(why, kDoing, path, ExitStatus::kIoFailed);
  }
}

json spread_as_json(const Spread& spread) {
  return {{"seconds_min", spread.min}, {"seconds_mean", spread.mean}, {"seconds_max", spread.max}};
}

std::string outcome_word(int outcome) {
  return outcome == 0                                             ? "done"
         : outcome == static_cast<int>(ExitStatus::kStoppedEarly) ? "stopped early"
                                                                  : "failed";
}

// Reports of earlier runs are replaced, and nothing else is.
bool is_report(const std::string& path) {
  constexpr std::uintmax_t kMostBytes = UINTMAX_C(256) << 20;
  std::error_code ignored;
  const std::uintmax_t bytes = std::filesystem::file_size(path, ignored);
  if (ignored || bytes > kMostBytes) {
    return false;
  }
  std::ifstream file(path, std::ios::binary);
  const json found = json::parse(file, nullptr, false);
  return bytes == 0 || (found.is_object() && found.contains("version") && found.contains("job") &&
                        found.contains("exit_status"));
}

}  // namespace

void check_report_path(const Comm& world, const std::string& path, const std::string& output) {
  on_root(world, "checking the path of the run report", [&] {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const fs::path folder = fs::path(path).has_parent_path() ? fs::path(path).parent_path() : ".";
    if (!fs::is_directory(folder, ignored) || fs::is_directory(path, ignored)) {
      throw Error(ExitStatus::kCannotCreate,
                  text("--report ", path, ": ",
                       fs::is_directory(path, ignored) ? "is a folder" : "no such folder"));
    }
    const fs::file_status status = fs::symlink_status(path, ignored);
    if (fs::exists(status) && (!fs::is_regular_file(status) || !is_report(path))) {
      throw Error(ExitStatus::kCannotCreate,
                  text("--report ", path, ": ",
                       fs::is_regular_file(status) ? "the file is no run report, and is left alone"
                                                   : "is no regular file",
                       "; another name would be right"));
    }
    if (!output.empty() && fs::weakly_canonical(fs::absolute(path), ignored) ==
                               fs::weakly_canonical(fs::absolute(output), ignored)) {
      throw Error(ExitStatus::kUsage, text("--report ", path,
                                           ": is what --out names, too; another name would be "
                                           "right"));
    }
    if (access(folder.c_str(), W_OK | X_OK) != 0) {
      throw_errno(errno, "--report: writing to the folder", folder.string(),
                  ExitStatus::kNoPermission);
    }
  });
}

void RunReport::add_common(int outcome, const std::string& message) {
  fields_["version"] = version();
  fields_["git"] = git_version();
  fields_["finished"] = utc_now();
  fields_["mpi"] = mpi_version();
  fields_["hdf5"] = io::hdf5_version();
  fields_["simd"] = kernels::target_name();
  const auto slurm = slurm_variables();
  fields_["slurm"] = slurm;
  const auto restarts = slurm.find("SLURM_RESTART_COUNT");
  const std::int64_t requeued =
      restarts == slurm.end() ? 0 : read_integer(restarts->second).value_or(0);
  fields_["restarts"] = std::max(requeued, fields_.value("restarts", std::int64_t{0}));
  fields_["outcome"] = outcome_word(outcome);
  fields_["exit_status"] = outcome;
  fields_["message"] = message;
  for (const char* key : {"units_done", "units_skipped"}) {
    fields_.emplace(key, 0);
  }
  for (const char* key : {"job_digest", "grid"}) {
    fields_.emplace(key, nullptr);
  }
}

void RunReport::write(const Comm& world, const PhaseTimes& times, const std::string& path,
                      int outcome, const std::string& message) {
  add_common(outcome, message);
  fields_["hosts"] = host_names(world);
  fields_["ranks"] = world.ranks();
  json phases = json::object();
  for (std::size_t phase = 0; phase < kPhaseNames.size(); ++phase) {
    const double seconds = times.of(static_cast<Phase>(phase));
    phases[std::string(kPhaseNames[phase])] = spread_as_json(spread_over_ranks(world, seconds));
  }
  fields_["phases"] = std::move(phases);
  std::array counts{bytes_read_, bytes_written_, bytes_exchanged_, messages_};
  world.sum(counts);
  fields_["bytes_read"] = counts[0];
  fields_["bytes_written"] = counts[1];
  fields_["bytes_exchanged"] = counts[2];
  fields_["messages"] = counts[3];
  json peaks = json::object();
  std::int64_t largest = 0;
  int rank = 0;
  for (const std::int64_t peak : world.gather_all(peak_rss_bytes())) {
    peaks[std::to_string(rank++)] = peak;
    largest = std::max(largest, peak);
  }
  fields_["peak_rss_bytes"] = std::move(peaks);
  fields_["peak_rss_bytes_max"] = largest;
  on_root(world, kDoing, [&] { save(fields_, path); });
}

void RunReport::write_alone(const Comm& world, const PhaseTimes& times, const std::string& path,
                            int outcome, const std::string& message) {
  add_common(outcome, message);
  fields_["alone"] = world.rank();
  fields_["ranks"] = world.ranks();
  json phases = json::object();
  for (std::size_t phase = 0; phase < kPhaseNames.size(); ++phase) {
    const double seconds = times.of(static_cast<Phase>(phase));
    phases[std::string(kPhaseNames[phase])] = spread_as_json({seconds, seconds, seconds});
  }
  fields_["phases"] = std::move(phases);
  fields_["bytes_read"] = bytes_read_;
  fields_["bytes_written"] = bytes_written_;
  fields_["bytes_exchanged"] = bytes_exchanged_;
  fields_["messages"] = messages_;
  fields_["peak_rss_bytes"] = {{std::to_string(world.rank()), peak_rss_bytes()}};
  fields_["peak_rss_bytes_max"] = peak_rss_bytes();
  save(fields_, path);
}

}  // namespace espalier::jobs
