// How Options come about: one source after the other, the first one that sets a name wins.
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <typeinfo>

#include "jobs/config_text.hpp"
#include "jobs/job.hpp"
#include "jobs/options.hpp"

// POSIX declares the variables of the process in no header.
extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace espalier::jobs {
namespace {

namespace po = boost::program_options;

constexpr std::string_view kPrefix = "ESPALIER_";
constexpr std::string_view kReserved = "ESPALIER_DATA";

// Decide on this one run, so that they make no sense in a file or variable.
bool command_line_only(std::string_view name) { return name == "help" || name == "print-config"; }

std::string variable_of(const std::string& name) {
  std::string variable(kPrefix);
  for (const char letter : name) {
    variable += letter == '-'                    ? '_'
                : letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A')
                                                 : letter;
  }
  return variable;
}

bool is_flag(const po::option_description& option) { return option.semantic()->max_tokens() == 0; }

bool takes_many(const po::option_description& option) {
  return option.semantic()->max_tokens() > 1 || option.semantic()->is_composing();
}

enum class Kind { kText, kInteger, kNatural, kNumber };

// What a typed declaration promises, so that a wrong value is refused before the job starts.
Kind kind_of(const po::option_description& option) {
  const auto* typed = dynamic_cast<const po::typed_value_base*>(option.semantic().get());
  if (typed == nullptr) {
    return Kind::kText;
  }
  const std::type_info& type = typed->value_type();
  if (type == typeid(std::uint64_t) || type == typeid(unsigned)) {
    return Kind::kNatural;
  }
  if (type == typeid(std::int64_t) || type == typeid(int) || type == typeid(long long)) {
    return Kind::kInteger;
  }
  return type == typeid(double) || type == typeid(float) ? Kind::kNumber : Kind::kText;
}

template <typename Held>
std::optional<std::string> print_default(const boost::any& value) {
  const auto* held = boost::any_cast<Held>(&value);
  return held != nullptr ? std::optional(text(*held)) : std::nullopt;
}

std::vector<std::string> default_texts(const po::option_description& option) {
  boost::any value;
  if (!option.semantic()->apply_default(value)) {
    return {};
  }
  if (const auto* many = boost::any_cast<std::vector<std::string>>(&value)) {
    return *many;
  }
  if (const auto* flag = boost::any_cast<bool>(&value)) {
    return {*flag ? "on" : "off"};
  }
  for (const auto& print :
       {print_default<std::string>, print_default<std::int64_t>, print_default<std::uint64_t>,
        print_default<int>, print_default<unsigned>, print_default<double>, print_default<float>}) {
    if (const auto printed = print(value)) {
      return {*printed};
    }
  }
  expects(false, text("the default of --", option.long_name(), " is text, a number or a flag"));
  return {};
}

Error usage_error(const Job& job, std::string_view what) {
  return {ExitStatus::kUsage, text(what, "; see espalier ", job.name, " --help")};
}

}  // namespace

struct Options::Parser {
  explicit Parser(const Job& of) : job(of) {
    result.job_ = job.name;
    result.usage_ = job.usage;
    result.positional_ = job.positional;
    for (const auto& option : job.options.options()) {
      declare(option);
    }
    for (const auto& name : job.positional) {
      if (find(name) == nullptr) {
        declare(boost::shared_ptr<po::option_description>(
            new po::option_description(name.c_str(), po::value<std::string>())));
      }
    }
    const auto common = common_options();
    for (const auto& option : common.options()) {
      if (find(option->long_name()) == nullptr) {
        declare(option);
      }
    }
  }

  void declare(const boost::shared_ptr<po::option_description>& option) {
    all.add(option);
    result.names_.push_back(option->long_name());
    if (option->semantic()->is_required()) {
      result.required_.push_back(option->long_name());
    }
  }

  const po::option_description* find(const std::string& name) const {
    return all.find_nothrow(name, false);
  }

  // An earlier source of the same name wins; the same source adds further values.
  void set(const std::string& name, Origin origin, std::string place, std::string spelled) {
    auto [at, fresh] = result.values_.try_emplace(name, Value{origin, std::move(place), {}});
    if (at->second.origin == origin) {
      at->second.texts.push_back(std::move(spelled));
    }
  }

  void take_command_line(const std::vector<std::string>& arguments);
  void take_option(const po::option& option);
  void take_bare_word(const std::string& word, std::size_t& at);
  [[noreturn]] void refuse_unknown(const std::string& token) const;
  void take_environment(const Surroundings& surroundings);
  void take_config(const std::string& content);
  void take_defaults();
  void check_kinds() const;

  const Job& job;
  po::options_description all;
  Options result;
};

void Options::Parser::take_command_line(const std::vector<std::string>& arguments) {
  using namespace po::command_line_style;
  std::vector<po::option> options;
  try {
    options = po::command_line_parser(arguments)
                  .options(all)
                  .style(unix_style & ~allow_guessing & ~allow_sticky)
                  .allow_unregistered()
                  .run()
                  .options;
  } catch (const po::error& error) {
    throw usage_error(job, error.what());
  }
  for (const auto& option : options) {
    if (option.unregistered) {
      refuse_unknown(option.original_tokens.empty() ? option.string_key
                                                    : option.original_tokens.front());
    }
  }
  std::size_t at = 0;
  for (const auto& option : options) {
    if (option.string_key.empty()) {
      take_bare_word(option.value.front(), at);
    } else {
      take_option(option);
    }
  }
}

void Options::Parser::take_option(const po::option& option) {
  const std::string& name = option.string_key;
  const std::string place = espalier::text("--", name);
  const bool before = result.values_.contains(name);
  if (before && !takes_many(*find(name))) {
    throw usage_error(job, espalier::text("option ", place, " is given twice"));
  }
  if (is_flag(*find(name))) {
    set(name, Origin::kCommandLine, place, "on");
  }
  for (const std::string& spelled : option.value) {
    set(name, Origin::kCommandLine, place, spelled);
  }
}

void Options::Parser::take_bare_word(const std::string& word, std::size_t& at) {
  if (at >= job.positional.size()) {
    throw usage_error(job, espalier::text("unexpected argument '", word, "'"));
  }
  const std::string& name = job.positional[at];
  const bool many = takes_many(*find(name));
  if (!many && result.values_.contains(name)) {
    throw usage_error(job,
                      espalier::text("'", word, "' and --", name, " say the same thing twice"));
  }
  set(name, Origin::kCommandLine, name, word);
  at += many ? 0 : 1;
}

void Options::Parser::refuse_unknown(const std::string& token) const {
  std::string name = token.substr(0, token.find('='));
  std::string wanted = name.substr(std::min(name.find_first_not_of('-'), name.size()));
  std::replace(wanted.begin(), wanted.end(), '_', '-');
  std::string hints;
  for (const std::string& known : result.names_) {
    if (!wanted.empty() && known.starts_with(wanted)) {
      hints += espalier::text(hints.empty() ? "" : " or ", "--", known);
    }
  }
  throw usage_error(job, espalier::text("unknown option ", name,
                                        hints.empty() ? "" : " (names are written in full: ", hints,
                                        hints.empty() ? "" : "?)"));
}

void Options::Parser::take_environment(const Surroundings& surroundings) {
  std::map<std::string, std::string> option_of;
  for (const std::string& name : result.names_) {
    if (!command_line_only(name)) {
      option_of.emplace(variable_of(name), name);
    }
  }
  for (const auto& [variable, spelled] : surroundings.environment) {
    const auto option = option_of.find(variable);
    if (option != option_of.end()) {
      if (!spelled.empty()) {
        set(option->second, Origin::kEnvironment, variable, spelled);
      }
      continue;
    }
    const auto& others = surroundings.other_names;
    if (std::none_of(others.begin(), others.end(),
                     [&, &wanted = variable](const std::string& name) {
                       return variable_of(name) == wanted;
                     })) {
      throw Error(ExitStatus::kBadConfig,
                  espalier::text("unknown variable ", variable,
                                 " in the environment; unset it, or see espalier ", job.name,
                                 " --help for the options it may set"));
    }
  }
}

void Options::Parser::take_config(const std::string& content) {
  const std::string file = result.values_.at("config").texts.front();
  std::set<std::string> seen;
  for (const auto& [number, name, spelled] : read_config_text(file, content)) {
    const auto* option = find(name);
    if (option == nullptr || command_line_only(name) || name == "config") {
      throw Error(ExitStatus::kBadConfig,
                  espalier::text(file, ":", number, ": unknown key '", name, "'; see espalier ",
                                 job.name, " --help for the options it may set"));
    }
    if (!seen.insert(name).second && !takes_many(*option)) {
      throw Error(ExitStatus::kBadConfig,
                  espalier::text(file, ":", number, ": ", name, " is given twice"));
    }
    set(name, Origin::kConfig, espalier::text(name, " in ", file), spelled);
  }
}

void Options::Parser::take_defaults() {
  for (const auto& option : all.options()) {
    const std::string& name = option->long_name();
    for (const std::string& spelled :
         result.values_.contains(name) ? std::vector<std::string>{} : default_texts(*option)) {
      set(name, Origin::kDefault, espalier::text("--", name), spelled);
    }
  }
}

void Options::Parser::check_kinds() const {
  for (const auto& option : all.options()) {
    const std::string& name = option->long_name();
    if (!result.values_.contains(name)) {
      continue;
    }
    const Kind kind = kind_of(*option);
    if (is_flag(*option)) {
      result.flag(name);
    } else if (kind == Kind::kInteger || kind == Kind::kNatural) {
      result.integer(name, kind == Kind::kNatural ? 0 : std::numeric_limits<std::int64_t>::min());
    } else if (kind == Kind::kNumber) {
      result.number(name);
    }
  }
}

std::map<std::string, std::string> environment_options() {
  std::map<std::string, std::string> found;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view whole(*entry);
    const auto name = whole.substr(0, whole.find('='));
    if (name.starts_with(kPrefix) && name != kReserved && name.size() < whole.size()) {
      found.emplace(name, whole.substr(name.size() + 1));
    }
  }
  return found;
}

std::optional<std::string> Options::config_file(
    const Job& job, const std::vector<std::string>& arguments,
    const std::map<std::string, std::string>& environment) {
  Parser parser(job);
  parser.take_command_line(arguments);
  if (const auto named = parser.result.values_.find("config");
      named != parser.result.values_.end()) {
    return named->second.texts.front();
  }
  const auto variable = environment.find(variable_of("config"));
  const bool set = variable != environment.end() && !variable->second.empty();
  return set ? std::optional(variable->second) : std::nullopt;
}

std::string read_config_file(const std::string& file) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in || std::filesystem::is_directory(file)) {
    throw_errno(in ? EISDIR : errno, "reading the configuration file", file, ExitStatus::kNoInput);
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

Options Options::parse(const Job& job, const std::vector<std::string>& arguments) {
  Surroundings surroundings{environment_options(), {}, {}};
  if (const auto file = config_file(job, arguments, surroundings.environment)) {
    surroundings.config_text = read_config_file(*file);
  }
  return parse(job, arguments, surroundings);
}

Options Options::parse(const Job& job, const std::vector<std::string>& arguments,
                       const Surroundings& surroundings) {
  Parser parser(job);
  parser.take_command_line(arguments);
  parser.take_environment(surroundings);
  if (parser.result.has("config")) {
    parser.take_config(surroundings.config_text);
  }
  parser.take_defaults();
  parser.check_kinds();
  return std::move(parser.result);
}

}  // namespace espalier::jobs
