#include "io/json_text.hpp"

namespace espalier::io {

nlohmann::json parse_json(std::string_view spelled) {
  constexpr int kMaxDepth = 32;
  bool too_deep = false;
  const auto keep = [&](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  auto parsed = nlohmann::json::parse(spelled, keep, false);
  return too_deep ? nlohmann::json(nlohmann::json::value_t::discarded) : parsed;
}

}  // namespace espalier::io
