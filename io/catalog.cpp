#include "io/catalog.hpp"

#include "framework/error.hpp"

namespace espalier::io {

std::int64_t Dataset::count() const noexcept {
  std::int64_t product = 1;
  for (const std::int64_t extent : shape) {
    product *= extent;
  }
  return product;
}

const Dataset* Catalog::find_dataset(const std::string& path) const {
  const auto found = datasets.find(path);
  return found == datasets.end() ? nullptr : &found->second;
}

const Dataset& Catalog::dataset(const std::string& path) const {
  const Dataset* found = find_dataset(path);
  if (found == nullptr) {
    throw Error(ExitStatus::kBadData, text(file, ": there is no dataset ", path,
                                           has_group(path) ? " (it is a group)" : ""));
  }
  return *found;
}

const nlohmann::json* Catalog::find_attribute(const std::string& object,
                                              const std::string& name) const {
  const auto attributes = objects.find(object);
  if (attributes == objects.end()) {
    return nullptr;
  }
  const auto found = attributes->second.find(name);
  return found == attributes->second.end() ? nullptr : &found->second;
}

bool Catalog::has_group(const std::string& path) const {
  return objects.contains(path) && !datasets.contains(path);
}

std::vector<std::string> Catalog::children(const std::string& path) const {
  const std::string prefix = path == "/" ? path : path + "/";
  std::vector<std::string> names;
  for (auto at = objects.upper_bound(prefix); at != objects.end() && at->first.starts_with(prefix);
       ++at) {
    if (at->first.find('/', prefix.size()) == std::string::npos) {
      names.push_back(at->first.substr(prefix.size()));
    }
  }
  return names;
}

}  // namespace espalier::io
