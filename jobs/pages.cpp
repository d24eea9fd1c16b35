#include "jobs/pages.hpp"

#include <algorithm>
#include <sstream>

#include "framework/provenance.hpp"

namespace espalier::jobs {
namespace {

namespace po = boost::program_options;

// Text as roff prints it: a hyphen that can be copied, no line that begins a request.
std::string roff(const std::string& plain) {
  std::string out;
  for (const char letter : plain) {
    const bool begins_request =
        (letter == '.' || letter == '\'') && (out.empty() || out.back() == '\n');
    out += begins_request ? "\\&" : "";
    out += letter == '\\' ? "\\e" : letter == '-' ? "\\-" : std::string(1, letter);
  }
  return out;
}

bool is_bare_word(const Job& job, const po::option_description& option) {
  return std::find(job.positional.begin(), job.positional.end(), option.long_name()) !=
         job.positional.end();
}

// "-o, --out FILE" and its text.
void describe_option(std::ostream& out, const po::option_description& option, bool bare) {
  using Style = po::command_line_style::style_t;
  const std::string shorter = option.canonical_display_name(Style::allow_dash_for_short);
  const std::string longer = "--" + option.long_name();
  const bool flag = option.semantic()->max_tokens() == 0;
  out << ".TP\n\\fB";
  if (bare) {
    out << roff(option.long_name());
  } else {
    out << roff(shorter == longer || shorter.starts_with("--") ? longer : shorter + ", " + longer);
  }
  out << "\\fR" << (flag || bare ? "" : " \\fI" + roff(option.format_parameter()) + "\\fR") << "\n"
      << roff(option.description()) << "\n";
}

void describe_options(std::ostream& out, const Job& job) {
  for (const auto& option : job.options.options()) {
    describe_option(out, *option, is_bare_word(job, *option));
  }
}

void describe_job(std::ostream& out, const Job& job) {
  out << ".SS " << job.name << "\n"
      << roff("espalier " + job.usage) << "\n.PP\n"
      << roff(job.summary) << ".\n";
  describe_options(out, job);
  if (!job.examples.empty()) {
    out << ".PP\n.nf\n.RS\n";
    for (const std::string& example : job.examples) {
      out << roff(example) << "\n";
    }
    out << ".RE\n.fi\n";
  }
}

constexpr const char* kIntroduction = R"(.SH NAME
espalier \- prune very large neural networks in parallel and run sparse batch inference
.SH SYNOPSIS
.B espalier
.I JOB
.RI [ options ]
.br
.B espalier
.I JOB
.B \-\-help
.br
.B espalier \-\-version
|
.B \-\-manual
|
.B \-\-completion
.SH DESCRIPTION
Runs alone, or on many ranks under mpirun or srun. Long options are written in full. A value is taken
from the command line, else from the environment (\-\-memory\-per\-rank is ESPALIER_MEMORY_PER_RANK),
else from the file of \-\-config, else it is the default.
)";

constexpr const char* kStatuses = R"(.SH EXIT STATUS
0 done; 64 wrong usage; 65 bad or damaged data, or a mismatch; 66 no such input; 69 does not fit;
70 a bug; 71 MPI or the system failed; 73 the output cannot be created; 74 reading or writing failed;
75 stopped early, run it again; 77 no permission; 78 bad configuration.
)";

std::string options_of(const po::options_description& described, const Job* job) {
  std::string words;
  for (const auto& option : described.options()) {
    if (job == nullptr || !is_bare_word(*job, *option)) {
      words += " --" + option->long_name();
    }
  }
  return words;
}

constexpr const char* kCompletionEnd = R"(
  if [[ $COMP_CWORD -gt 1 && $current != -* ]]; then
    COMPREPLY=() # files
  else
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  fi
}
complete -o default -F _espalier espalier
)";

}  // namespace

std::vector<std::pair<std::string, std::string>> script_jobs() {
  return {{"submit", "write, show and submit Slurm job scripts for these"},
          {"scaling", "run an inference on several numbers of ranks, and compare"}};
}

std::string manual_page(const std::vector<Job>& jobs) {
  std::ostringstream out;
  out << ".TH ESPALIER 1 \"\" \"espalier " << version() << "\" \"User Commands\"\n"
      << kIntroduction << ".SH JOBS\n";
  for (const Job& job : jobs) {
    describe_job(out, job);
  }
  for (const auto& [name, summary] : script_jobs()) {
    out << ".SS " << name << "\n"
        << roff(summary) << ".\nSee \\fBespalier " << name << " \\-\\-help\\fR.\n";
  }
  out << ".SH OPTIONS OF EVERY JOB\n";
  const auto common = common_options();
  for (const auto& option : common.options()) {
    describe_option(out, *option, false);
  }
  out << kStatuses;
  return std::move(out).str();
}

std::string bash_completion(const std::vector<Job>& jobs) {
  std::ostringstream out;
  std::string names;
  for (const Job& job : jobs) {
    names += job.name + " ";
  }
  std::string scripts;
  for (const auto& [name, summary] : script_jobs()) {
    names += name + " ";
    scripts += (scripts.empty() ? "*:" : " | *:") + name;
  }
  out << "# bash completion of espalier " << version() << ", written by espalier --completion\n"
      << "_espalier() {\n"
      << "  local current=${COMP_WORDS[COMP_CWORD]} words\n"
      << "  local common='" << options_of(common_options(), nullptr).substr(1) << "'\n"
      << "  case $COMP_CWORD:${COMP_WORDS[1]} in\n"
      << "    1:*) words='" << names << "--help --version' ;;\n";
  for (const Job& job : jobs) {
    out << "    *:" << job.name << ") words=\"$common" << options_of(job.options, &job)
        << "\" ;;\n";
  }
  out << "    " << scripts << ")\n"
      << "      words=$(\"${COMP_WORDS[0]}\" \"${COMP_WORDS[1]}\" --help 2> /dev/null | "
         "grep -oE '^  --[a-z-]+') ;;\n"
      << "  esac" << kCompletionEnd;
  return std::move(out).str();
}

}  // namespace espalier::jobs
