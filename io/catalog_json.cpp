// The catalog as it comes from espalier-walk. The child has read a hostile file, so what it says is
// checked as if it were one.
#include <algorithm>
#include <limits>

#include "framework/error.hpp"
#include "io/catalog.hpp"
#include "io/json_text.hpp"

namespace espalier::io {
namespace {

using nlohmann::json;

class Reader {
 public:
  explicit Reader(const std::string& file) { catalog_.file = file; }

  Catalog read(std::string_view spelled) {
    json root = parse_json(spelled);
    require(root.is_object() && root.contains("objects") && root.at("objects").is_object() &&
                root.contains("datasets") && root.at("datasets").is_object(),
            "no such lists");
    catalog_.file_bytes = number_at(root, "file_bytes");
    for (auto& [path, attributes] : root.at("objects").items()) {
      require(path.starts_with('/') && attributes.is_object(), "an object's attributes");
      auto& held = catalog_.objects[path];
      for (auto& [name, value] : attributes.items()) {
        held.emplace(name, std::move(value));
      }
    }
    for (const auto& [path, dataset] : root.at("datasets").items()) {
      read_dataset(path, dataset);
    }
    require(catalog_.has_group("/"), "a file without a root group");
    mark_half_types();
    return std::move(catalog_);
  }

 private:
  void require(bool condition, std::string_view what) const {
    if (!condition) {
      throw Error(ExitStatus::kBadData,
                  text(catalog_.file, ": damaged: the list of its contents is not sound: ", what));
    }
  }

  std::int64_t number(const json& value, const std::string& what) const {
    require(value.is_number_integer(), what);
    require(!value.is_number_unsigned() ||
                value.get<std::uint64_t>() <=
                    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()),
            what);
    const auto number = value.get<std::int64_t>();
    require(number >= 0, what);
    return number;
  }

  std::int64_t number_at(const json& object, const char* key) const {
    const auto found = object.find(key);
    require(found != object.end(), key);
    return number(*found, key);
  }

  // Values that are bits of half types say so beside the descriptor of their group.
  void mark_half_types() {
    for (const auto& [group, attributes] : catalog_.objects) {
      const auto text = attributes.find("binsparse");
      const auto values = catalog_.datasets.find(group == "/" ? "/values" : group + "/values");
      if (text == attributes.end() || !text->second.is_string() ||
          values == catalog_.datasets.end() ||
          values->second.type.kind != ElementClass::kUnsigned || values->second.type.bytes != 2 ||
          text->second.get_ref<const std::string&>().find("value_type") == std::string::npos) {
        continue;
      }
      const json root = parse_json(text->second.get_ref<const std::string&>());
      const json own = root.is_object() ? root.value("espalier", json()) : json();
      const json named = own.is_object() ? own.value("value_type", json()) : json();
      values->second.type.half = named == "float16"    ? HalfFloat::kFloat16
                                 : named == "bfloat16" ? HalfFloat::kBfloat16
                                                       : HalfFloat::kNone;
    }
  }

  void read_dataset(const std::string& path, const json& found) {
    require(catalog_.objects.contains(path) && found.is_object(), path);
    Dataset dataset;
    dataset.path = path;
    const std::int64_t kind = number_at(found, "kind");
    const std::int64_t bytes = number_at(found, "bytes");
    require(kind <= static_cast<std::int64_t>(ElementClass::kOther) &&
                bytes <= std::numeric_limits<int>::max(),
            path);
    dataset.type = {static_cast<ElementClass>(kind), static_cast<int>(bytes),
                    number_at(found, "native") == 1};
    require(sound(dataset.type), path);
    dataset.filtered = number_at(found, "filtered") == 1;
    require(found.contains("shape") && found.at("shape").is_array(), path);
    for (const json& extent : found.at("shape")) {
      dataset.shape.push_back(number(extent, path));
    }
    check_size(dataset);
    if (found.contains("offset")) {
      dataset.offset = number_at(found, "offset");
      require(*dataset.offset <= catalog_.file_bytes &&
                  dataset.bytes() <= catalog_.file_bytes - *dataset.offset,
              path);
    }
    catalog_.datasets.emplace(path, std::move(dataset));
  }

  // So that count() and bytes() cannot overflow, whatever the order of factors.
  void check_size(const Dataset& dataset) const {
    std::int64_t product = std::max(1, dataset.type.bytes);
    for (const std::int64_t extent : dataset.shape) {
      require(extent == 0 || !__builtin_mul_overflow(product, extent, &product), dataset.path);
    }
  }

  static bool sound(ElementType type) {
    switch (type.kind) {
      case ElementClass::kUnsigned:
      case ElementClass::kSigned:
        return type.bytes == 1 || type.bytes == 2 || type.bytes == 4 || type.bytes == 8;
      case ElementClass::kFloat:
        return type.bytes == 2 || type.bytes == 4 || type.bytes == 8;
      case ElementClass::kText:
        return type.bytes >= 1;
      case ElementClass::kPair:
        return type == kPairType;
      case ElementClass::kOther:
        break;
    }
    return true;
  }

  Catalog catalog_;
};

}  // namespace

Catalog parse_catalog(const std::string& file, std::string_view json) {
  return Reader(file).read(json);
}

}  // namespace espalier::io
