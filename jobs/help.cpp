#include "jobs/help.hpp"

#include <algorithm>
#include <sstream>

#include "framework/provenance.hpp"
#include "io/hdf5_version.hpp"
#include "jobs/pages.hpp"
#include "kernels/target.hpp"

namespace espalier::jobs {
namespace {

namespace po = boost::program_options;

constexpr unsigned kWidth = 100;

constexpr const char* kSources =
    "A value is taken from the command line, else from the environment (--memory-per-rank is\n"
    "ESPALIER_MEMORY_PER_RANK), else from the file of --config, else it is the default shown.\n";

constexpr const char* kStatuses =
    "Exit status: 0 done; 64 usage; 65 bad or damaged data, or a mismatch; 66 no such input;\n"
    "69 does not fit; 70 a bug; 71 MPI or system; 73 cannot create the output; 74 I/O failed;\n"
    "75 stopped early, run it again; 77 no permission; 78 bad configuration.\n";

// Bare words have their place in the usage line; as options they would only confuse.
po::options_description without_positional(const Job& job) {
  po::options_description shown("Options of " + job.name, kWidth);
  for (const auto& option : job.options.options()) {
    const auto& words = job.positional;
    if (std::find(words.begin(), words.end(), option->long_name()) == words.end()) {
      shown.add(option);
    }
  }
  return shown;
}

}  // namespace

std::string program_help(const std::vector<Job>& jobs) {
  std::ostringstream out;
  out << "usage: espalier JOB [options]        alone, or under mpirun or srun\n"
      << "       espalier JOB --help           a job's options, with examples\n"
      << "       espalier --version\n\n"
      << "Jobs:\n";
  const auto line = [&](const std::string& name, const std::string& summary) {
    out << "  " << name << std::string(12 - std::min<std::size_t>(11, name.size()), ' ') << summary
        << "\n";
  };
  for (const Job& job : jobs) {
    line(job.name, job.summary);
  }
  for (const auto& [name, summary] : script_jobs()) {
    line(name, summary);
  }
  out << "\n" << kStatuses;
  return std::move(out).str();
}

std::string job_help(const Job& job) {
  std::ostringstream out;
  out << "usage: espalier " << job.usage << "\n\n" << job.summary << "\n\n";
  const auto own = without_positional(job);
  if (!own.options().empty()) {
    out << own << "\n";
  }
  out << common_options() << "\n" << kSources;
  if (!job.examples.empty()) {
    out << "\nExamples:\n";
    for (const std::string& example : job.examples) {
      out << "  " << example << "\n";
    }
  }
  return std::move(out).str();
}

std::string version_text() {
  return text("espalier ", version(), " (git ", git_version(), ")\nMPI: ", mpi_version(),
              "\nHDF5: ", io::hdf5_version(), "\nSIMD: ", kernels::target_name(), "\n");
}

}  // namespace espalier::jobs
