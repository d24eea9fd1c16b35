#include "io/json_text.hpp"

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

}  // namespace

nlohmann::json parse_json(std::string_view spelled) {
  if (nests_too_deep(spelled)) {
    return nlohmann::json(nlohmann::json::value_t::discarded);
  }
  return nlohmann::json::parse(spelled, nullptr, false);
}

}  // namespace espalier::io
