#include <algorithm>
#include <array>

#include "framework/error.hpp"
#include "jobs/describe.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

using Json = nlohmann::ordered_json;
using Row = std::vector<std::string>;

// Up to this many layers are shown without --verbose; of more, the first and last few.
constexpr std::size_t kFewLayers = 12;
constexpr std::size_t kFirst = 3;
constexpr std::size_t kLast = 2;

std::string size_of(const Json& bytes) {
  return bytes.is_number_integer() ? spelled_bytes(bytes.get<std::int64_t>())
                                   : text(rounded(bytes.get<double>() / 0x1p40), " TiB");
}

std::string percent(const Json& share) { return text(rounded(100 * share.get<double>()), " %"); }

std::string count(const Json& number) { return grouped(number.get<std::int64_t>()); }

std::string type_word(const Json& matrix) {
  const std::string type = matrix["value_type"].is_null() ? "-" : matrix["value_type"];
  return matrix["iso"].get<bool>() ? text("iso[", type, "]") : type;
}

std::string word_or_dash(const Json& word) {
  return word.is_null() ? std::string("-") : word.get<std::string>();
}

// "bytes 7.5 MiB; as dense float32 480 MiB, 64 times as much"
std::string against_dense(const Json& part) {
  const double bytes = part["bytes"].get<double>();
  const double dense = part["dense_bytes"].get<double>();
  std::string line =
      text(size_of(part["bytes"]), "; as dense float32 ", size_of(part["dense_bytes"]));
  if (bytes > 0) {
    line += text(", ", rounded(dense / bytes), " times as much");
  }
  return line;
}

std::string inputs_word(const Json& layer) {
  const std::int64_t before = layer["layer"].get<std::int64_t>() - 1;
  const Json& inputs = layer["inputs"];
  return inputs.size() == 1 && inputs[0] == before ? "before" : inputs.dump();
}

std::string activation_word(const Json& layer) {
  std::string word = layer["activation"];
  if (!layer["alpha"].is_null()) {
    word += text("(", rounded(layer["alpha"].get<double>()), ")");
  }
  if (!layer["clamp"].is_null()) {
    word += text(", at most ", rounded(layer["clamp"].get<double>()));
  }
  return word;
}

std::string bias_word(const Json& layer) {
  std::string word = layer["bias"];
  return word != "none" && layer["bias_mode"] == "nonzero" ? word + " where nonzero" : word;
}

std::string sides(const Json& numbers) {
  std::string word;
  for (const Json& number : numbers) {
    word += (word.empty() ? "" : " x ") + count(number);
  }
  return word;
}

// "120 x 400", "16 x 6 x 5 x 5" of filters, "2 x 2" of a pooling window.
std::string shape_word(const Json& layer) {
  const Json& window = layer["window"];
  if (window.is_null()) {
    return text(count(layer["rows"]), " x ", count(layer["cols"]));
  }
  const std::string kernel = sides(window["kernel"]);
  if (layer["kind"] != "convolution") {
    return kernel;
  }
  const std::int64_t channels =
      window["input_shape"][0].get<std::int64_t>() / window["groups"].get<std::int64_t>();
  return text(count(layer["rows"]), " x ", grouped(channels), " x ", kernel);
}

// "6 x 28 x 28, stride 2" of what comes out; empty for plain connections.
std::string window_word(const Json& layer) {
  const Json& window = layer["window"];
  if (window.is_null()) {
    return "";
  }
  std::string word = text(layer["kind"].get<std::string>(), " to ", sides(window["output_shape"]));
  const std::pair<const char*, int> marks[] = {{"strides", 1}, {"padding", 0}, {"dilation", 1}};
  for (const auto& [name, usual] : marks) {
    const Json& numbers = window[name];
    if (std::any_of(numbers.begin(), numbers.end(),
                    [plain = usual](const Json& number) { return number != plain; })) {
      word += text(", ", name, " ", numbers.dump());
    }
  }
  return window["groups"] == 1 ? word : text(word, ", groups ", window["groups"].dump());
}

Row row_of(const Json& layer) {
  return {layer["layer"].dump(),
          layer["name"],
          shape_word(layer),
          count(layer["nnz"]),
          percent(layer["density"]),
          layer["format"],
          word_or_dash(layer["index_type"]),
          type_word(layer),
          activation_word(layer),
          bias_word(layer),
          inputs_word(layer),
          window_word(layer)};
}

bool alike(const Json& one, const Json& other) {
  Row a = row_of(one);
  Row b = row_of(other);
  constexpr std::size_t kAfterName = 2;
  return std::equal(a.begin() + kAfterName, a.end(), b.begin() + kAfterName, b.end());
}

// Columns as wide as their widest cell; a row of one cell is a remark and has no columns.
std::string aligned(const std::vector<Row>& rows) {
  constexpr std::array kRight = {true, false, true, true, true};
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size() && row.size() > 1; ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string lines;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(std::max(widths[i], row[i].size()) - row[i].size(), ' ');
      const bool right = row.size() > 1 && i < kRight.size() && kRight[i];
      line += right ? text("  ", blanks, row[i]) : text("  ", row[i], blanks);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines += line + "\n";
  }
  return lines;
}

std::string layer_table(const Json& layers, bool all_layers) {
  std::vector<Row> rows = {{"layer", "name", "outputs x inputs", "weights", "density", "format",
                            "indices", "values", "activation", "bias", "inputs", ""}};
  const std::size_t count_all = layers.size();
  const bool shorten = !all_layers && count_all > kFewLayers;
  for (std::size_t i = 0; i < count_all; ++i) {
    if (shorten && i == kFirst) {
      const Json& model = layers[kFirst - 1];
      const std::size_t hidden = count_all - kFirst - kLast;
      const auto like = std::count_if(layers.begin() + kFirst, layers.end() - kLast,
                                      [&](const Json& layer) { return alike(layer, model); });
      rows.push_back({text("... ", grouped(narrow<std::int64_t>(hidden)), " more layers, ",
                           narrow<std::size_t>(like) == hidden ? "all" : grouped(like),
                           " like layer ", kFirst - 1, " (--verbose shows them)")});
      i = count_all - kLast;
    }
    rows.push_back(row_of(layers[i]));
  }
  return aligned(rows);
}

std::string head_line(const Json& file) {
  std::string line = text(file["file"].get<std::string>(), ": ", file["kind"].get<std::string>(),
                          ", ", size_of(file["file_bytes"]));
  const Json made = file["provenance"].is_object() ? file["provenance"] : Json::object();
  const Json job = made.value("job", Json());
  const Json version = made.value("version", Json());
  if (job.is_string() && version.is_string()) {
    line += text(", made by espalier ", version.get<std::string>(), " ", job.get<std::string>());
  }
  return text(line, file["checksums"].get<bool>() ? ", with checksums" : ", without checksums",
              "\n");
}

std::string network_lines(const Json& file, bool all_layers) {
  std::string scaling;
  for (const Json& name : file["scaling"]) {
    scaling += (scaling.empty() ? "" : ", ") + name.get<std::string>();
  }
  return text("layers    ", count(file["layer_count"]),
              file["chain"].get<bool>() ? "" : ", no plain chain", ", ", count(file["inputs"]),
              " inputs, ", count(file["outputs"]), " outputs\n", "weights   ", count(file["nnz"]),
              " (density ", percent(file["density"]), ")\n", "bytes     ", against_dense(file),
              "\n", scaling.empty() ? "" : text("scaling   ", scaling, "\n"), "\n",
              layer_table(file["layers"], all_layers));
}

std::string matrix_line(const Json& matrix) {
  std::string line = text(count(matrix["nnz"]), " values (density ", percent(matrix["density"]),
                          "), ", matrix["format"].get<std::string>(), ", ", type_word(matrix));
  if (!matrix["index_type"].is_null()) {
    line += text(", indices ", matrix["index_type"].get<std::string>());
  }
  return line;
}

std::string batch_lines(const Json& file) {
  return text("samples   ", count(file["samples"]), " of ", count(file["features"]), " features\n",
              "features  ", matrix_line(file["matrix"]), "\n", "bytes     ",
              against_dense(file["matrix"]), "\n", "labels    ",
              file["labels"].get<bool>() ? "yes" : "none", "\n", "ids       ",
              file["sample_id"].is_null() ? "none" : file["sample_id"].get<std::string>(), "\n");
}

std::string result_lines(const Json& file) {
  const Json& output = file["output"];
  return text("samples     ", count(file["samples"]), "\n", "categories  ",
              count(file["categories"]), " samples with a non-zero output\n", "top         ",
              file["top_k"] == 0 ? "none" : text("the ", count(file["top_k"]), " largest outputs"),
              "\n", "output      ",
              output.is_null()
                  ? "none"
                  : text(count(output["cols"]), " outputs a sample, ", matrix_line(output)),
              "\n", "ids         ",
              file["sample_id"].is_null() ? "none" : file["sample_id"].get<std::string>(), "\n");
}

}  // namespace

std::string description_table(const nlohmann::ordered_json& description, bool all_layers) {
  const std::string head = head_line(description);
  if (description["kind"] == "network") {
    return head + network_lines(description, all_layers);
  }
  return head +
         (description["kind"] == "batch" ? batch_lines(description) : result_lines(description));
}

}  // namespace espalier::jobs
