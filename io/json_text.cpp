#include "io/json_text.hpp"

#include <set>
#include <vector>

namespace espalier::io {
namespace {

constexpr int kMaxDepth = 32;

// Brackets outside strings, whether they match or not. The parser's own callback would tell the
// depth as well, but takes quadratic time over large objects.
bool nests_too_deep(std::string_view spelled) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < spelled.size(); ++i) {
    const char c = spelled[i];
    if (in_string) {
      i += c == '\\' ? 1 : 0;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) {
        return true;
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

// Looks at the keys of each object, and stops at the first that comes again.
class KeyReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::optional<std::string> repeated;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second) {
      repeated = name;
    }
    return !repeated;
  }

 private:
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

std::optional<std::string> repeated_key(std::string_view spelled) {
  KeyReader reader;
  nlohmann::json::sax_parse(spelled, &reader);
  return reader.repeated;
}

nlohmann::json parse_json(std::string_view spelled) {
  if (nests_too_deep(spelled)) {
    return nlohmann::json(nlohmann::json::value_t::discarded);
  }
  return nlohmann::json::parse(spelled, nullptr, false);
}

}  // namespace espalier::io
