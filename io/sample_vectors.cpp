#include "io/sample_vectors.hpp"

#include "framework/error.hpp"

namespace espalier::io {
namespace {

bool is_integer(ElementType type) {
  return type.kind == ElementClass::kUnsigned || type.kind == ElementClass::kSigned;
}

void expect_dataset(const Catalog& catalog, const Dataset& dataset, bool fits,
                    const std::string& right) {
  if (!fits) {
    throw Error(
        ExitStatus::kBadData,
        text(catalog.file, ": ", dataset.path, " is ", to_string(dataset.type), " of shape ",
             nlohmann::json(dataset.shape).dump(), "; ", right, " would be right"));
  }
}

}  // namespace

const Dataset& expect_integers(const Catalog& catalog, const std::string& path,
                               const std::vector<std::int64_t>& shape) {
  const Dataset& dataset = catalog.dataset(path);
  expect_dataset(catalog, dataset, is_integer(dataset.type) && dataset.shape == shape,
                 text("whole numbers of shape ", nlohmann::json(shape).dump()));
  return dataset;
}

bool find_labels(const Catalog& catalog, const std::string& path, std::int64_t samples) {
  if (!catalog.objects.contains(path)) {
    return false;
  }
  expect_integers(catalog, path, {samples});
  return true;
}

std::optional<ElementType> find_sample_ids(const Catalog& catalog, const std::string& path,
                                           std::int64_t samples) {
  if (!catalog.objects.contains(path)) {
    return std::nullopt;
  }
  const Dataset& dataset = catalog.dataset(path);
  const bool fits = (is_integer(dataset.type) || dataset.type.kind == ElementClass::kText) &&
                    dataset.type.bytes > 0 && dataset.shape == std::vector{samples};
  expect_dataset(catalog, dataset, fits,
                 text("whole numbers or fixed-length text of shape [", samples, "]"));
  return dataset.type;
}

}  // namespace espalier::io
