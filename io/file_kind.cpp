#include "io/file_kind.hpp"

#include <algorithm>

#include "framework/error.hpp"
#include "io/staged_file.hpp"

namespace espalier::io {
namespace {

bool has_object(const Catalog& catalog, const std::string& path) {
  return catalog.objects.contains(path);
}

std::string kind_by_structure(const Catalog& catalog) {
  if (has_object(catalog, "/layers")) {
    return "network";
  }
  if (has_object(catalog, "/categories") && has_object(catalog, "/alive")) {
    return "result";
  }
  return has_object(catalog, "/features") ? "batch" : "";
}

std::string list_root(const Catalog& catalog) {
  constexpr std::size_t kShown = 5;
  const auto names = catalog.children("/");
  std::string list;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    list += text(i == 0 ? "/" : ", /", names[i]);
  }
  return names.empty() ? "nothing" : names.size() > kShown ? list + ", ..." : list;
}

std::string mark_of(const std::string& kind) {
  return kind == "network" ? "/layers/000000/weight"
         : kind == "batch" ? "/features"
                           : "/categories and /alive";
}

}  // namespace

nlohmann::json origin_of(const Catalog& catalog) {
  const nlohmann::json* attribute = catalog.find_attribute("/", "espalier");
  if (attribute == nullptr || !attribute->is_string()) {
    return nullptr;
  }
  auto origin = nlohmann::json::parse(attribute->get_ref<const std::string&>(), nullptr, false);
  return origin.is_object() ? origin : nlohmann::json(nullptr);
}

std::string kind_of_file(const Catalog& catalog) {
  if (catalog.find_attribute("/", "espalier") == nullptr) {
    return kind_by_structure(catalog);
  }
  const nlohmann::json parsed = origin_of(catalog);
  if (!parsed.is_object() || !parsed.contains("kind") || !parsed["kind"].is_string() ||
      !parsed.contains("format") || !parsed["format"].is_number_integer()) {
    throw Error(ExitStatus::kBadData,
                text(catalog.file,
                     ": the root attribute 'espalier' is not JSON text with the keys "
                     "'kind' and 'format' (io/FORMAT.md)"));
  }
  const auto format = parsed["format"].get<std::int64_t>();
  if (format < 1 || format > kFormat) {
    throw Error(ExitStatus::kBadData, text(catalog.file, " has format ", format,
                                           "; this espalier reads format ", kFormat));
  }
  return parsed["kind"].get<std::string>();
}

void expect_kind(const Catalog& catalog, const std::string& kind) {
  const std::string found = kind_of_file(catalog);
  if (found.empty()) {
    throw Error(ExitStatus::kBadData, text(catalog.file, " is no ", kind, " file: it has no ",
                                           mark_of(kind), " but ", list_root(catalog)));
  }
  if (found != kind) {
    throw Error(ExitStatus::kBadData,
                text(catalog.file, " is a ", found, " file; a ", kind, " file is needed here"));
  }
}

}  // namespace espalier::io
