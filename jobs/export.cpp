// export: results as text or NumPy arrays; networks see export_network.cpp.
#include "jobs/export.hpp"

#include <charconv>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <system_error>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/memory.hpp"
#include "io/data_file.hpp"
#include "io/file_kind.hpp"
#include "io/matrix_rows.hpp"
#include "io/npy.hpp"
#include "io/result_file.hpp"
#include "io/staged_file.hpp"
#include "jobs/export_model.hpp"
#include "jobs/job.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::int64_t kRowsAtATime = 4096;
constexpr std::int64_t kTextLine = 32;  // typical bytes of a line of numbers

// What is exported from where to where.
struct Export {
  std::string source, target, format, what;
  io::Result result;
};

// Lines of numbers.
class Lines {
 public:
  template <typename Number>
  void field(Number number, char after) {
    char place[64];
    const auto [end, error] = std::to_chars(place, place + sizeof(place), number);
    expects(error == std::errc(), "a number has at most 64 characters");
    text_.append(place, end);
    text_ += after;
  }
  Bytes bytes() const {
    const auto view = std::as_bytes(std::span(text_));
    return {view.begin(), view.end()};
  }

 private:
  std::string text_;
};

std::vector<std::int64_t> read_integers(const io::DataFile& file, const std::string& path) {
  const io::Dataset& dataset = file.catalog().dataset(path);
  std::vector<std::int64_t> values(static_cast<std::size_t>(dataset.count()));
  file.read(dataset, 0, values);
  return values;
}

std::vector<float> read_floats(const io::DataFile& file, const std::string& path) {
  const io::Dataset& dataset = file.catalog().dataset(path);
  std::vector<float> values(static_cast<std::size_t>(dataset.count()));
  file.read(dataset, 0, values);
  return values;
}

// Samples are counted in the batch, of which a part holds only some.
std::int64_t first_sample(const io::Result& result) {
  return result.part ? result.part->samples.begin : 0;
}

// One 1-based sample id a line, as the challenge's truth files have it.
Bytes category_lines(const io::DataFile& file, const io::Result& result) {
  Lines lines;
  for (const std::int64_t id : read_integers(file, "/categories")) {
    lines.field(first_sample(result) + id + 1, '\n');
  }
  return lines.bytes();
}

// sample, output, value of the K largest outputs of each sample.
Bytes top_lines(const io::DataFile& file, const io::Result& result) {
  const auto index = read_integers(file, "/top_index");
  const auto value = read_floats(file, "/top_value");
  Lines lines;
  for (std::size_t k = 0; k < index.size(); ++k) {
    lines.field(first_sample(result) + static_cast<std::int64_t>(k) / result.top_k + 1, '\t');
    lines.field(index[k] + 1, '\t');
    lines.field(value[k], '\n');
  }
  return lines.bytes();
}

// Calls take(rows) for the outputs of all samples, some at a time.
template <typename Take>
void for_each_output(const io::DataFile& file, const io::Result& result, Take take) {
  for (std::int64_t begin = 0; begin < result.samples; begin += kRowsAtATime) {
    take(io::read_rows(file, *result.output,
                       {begin, std::min(begin + kRowsAtATime, result.samples)}));
  }
}

// sample, output, value of every output that is not zero.
Bytes output_lines(const io::DataFile& file, const io::Result& result) {
  Lines lines;
  for_each_output(file, result, [&](const kernels::CsrRows& rows) {
    for (std::int64_t row = 0; row < rows.rows(); ++row) {
      const auto r = static_cast<std::size_t>(row);
      for (std::int64_t k = rows.pointers[r]; k < rows.pointers[r + 1]; ++k) {
        lines.field(first_sample(result) + rows.first_row + row + 1, '\t');
        lines.field(std::int64_t{rows.indices[static_cast<std::size_t>(k)]} + 1, '\t');
        lines.field(rows.value(k), '\n');
      }
    }
  });
  return lines.bytes();
}

// A .npy file of elements that are stored as they are.
Bytes array_of(const io::DataFile& file, const std::string& path) {
  const io::Dataset& dataset = file.catalog().dataset(path);
  const std::string header = io::npy_header(dataset.type, dataset.shape);
  Bytes bytes(header.size() + static_cast<std::size_t>(dataset.bytes()));
  std::memcpy(bytes.data(), header.data(), header.size());
  file.read_raw(dataset, 0, std::span(bytes).subspan(header.size()));
  return bytes;
}

// The outputs as a dense .npy array, samples x outputs.
Bytes dense_output(const io::DataFile& file, const io::Result& result) {
  const auto width = static_cast<std::size_t>(result.output->cols);
  const std::string header = io::npy_header(io::kFloat32, {result.samples, result.output->cols});
  Bytes bytes(header.size() + static_cast<std::size_t>(result.samples) * width * sizeof(float));
  std::memcpy(bytes.data(), header.data(), header.size());
  for_each_output(file, result, [&](const kernels::CsrRows& rows) {
    for (std::int64_t row = 0; row < rows.rows(); ++row) {
      const auto r = static_cast<std::size_t>(row);
      const std::size_t line = static_cast<std::size_t>(rows.first_row + row) * width;
      for (std::int64_t k = rows.pointers[r]; k < rows.pointers[r + 1]; ++k) {
        const float value = rows.value(k);
        const std::size_t place = line + rows.indices[static_cast<std::size_t>(k)];
        std::memcpy(bytes.data() + header.size() + place * sizeof(float), &value, sizeof(float));
      }
    }
  });
  return bytes;
}

Bytes make_bytes(const io::DataFile& file, const Export& wanted) {
  if (wanted.format == "npy") {
    return wanted.what == "output" ? dense_output(file, wanted.result)
                                   : array_of(file, "/" + wanted.what);
  }
  if (wanted.what == "categories") {
    return category_lines(file, wanted.result);
  }
  return wanted.what == "top" ? top_lines(file, wanted.result) : output_lines(file, wanted.result);
}

Export read_options(const Options& options) {
  Export wanted;
  wanted.source = options.text("result");
  wanted.target = options.text("out");
  wanted.format = options.choice("to", {"tsv", "npy"});
  const std::vector<std::string> choices =
      wanted.format == "tsv"
          ? std::vector<std::string>{"categories", "top", "output"}
          : std::vector<std::string>{"categories", "alive", "top_index", "top_value", "output"};
  wanted.what = options.choice("what", choices);
  return wanted;
}

// About how many bytes are going to be written.
std::int64_t estimate_bytes(const Export& wanted) {
  const io::Result& result = wanted.result;
  const bool dense = wanted.format == "npy" && wanted.what == "output";
  std::int64_t count = result.categories;
  if (wanted.what == "alive") {
    count = result.samples;
  } else if (wanted.what.starts_with("top")) {
    count = result.samples * result.top_k;
  } else if (wanted.what == "output" && !dense) {
    count = result.output->stored;
  } else if (dense && __builtin_mul_overflow(result.samples, result.output->cols, &count)) {
    return std::numeric_limits<std::int64_t>::max();
  }
  const std::int64_t each = wanted.format == "tsv" ? kTextLine : (dense ? 4 : 8);
  return count > std::numeric_limits<std::int64_t>::max() / each
             ? std::numeric_limits<std::int64_t>::max()
             : count * each;
}

// Rank 0 makes the whole file in memory, so it has to fit there.
void check_export(const Export& wanted) {
  if (wanted.what.starts_with("top") && wanted.result.top_k == 0) {
    throw Error(ExitStatus::kBadData,
                text(wanted.source, " has no largest outputs; infer with --output top"));
  }
  if (wanted.what == "output" && !wanted.result.output) {
    throw Error(ExitStatus::kBadData,
                text(wanted.source, " has no outputs; infer with --output full"));
  }
  const std::int64_t bytes = estimate_bytes(wanted);
  // Text is put together as a string and then copied.
  const std::int64_t copies = wanted.format == "tsv" ? 3 : 1;
  if (bytes > usable_memory_bytes() / copies) {
    throw Error(ExitStatus::kDoesNotFit, text("about ", spelled_bytes(bytes), " of ", wanted.what,
                                              " do not fit into the memory of one rank; read ",
                                              wanted.source, " with h5py instead"));
  }
}

ExitStatus run_export(Context& context) {
  if (context.options.text("to") == "safetensors") {
    return export_model(context);
  }
  const Comm& world = context.world;
  const double start = now_seconds();
  const io::Catalog catalog = io::read_catalog(world, context.options.text("result"));
  const bool network =
      locally(world, "looking at the file", [&] { return io::kind_of_file(catalog) == "network"; });
  if (network) {
    return export_network(context, catalog);
  }
  Export wanted = locally(world, "reading options", [&] { return read_options(context.options); });
  locally(world, "looking at the result", [&] {
    wanted.result = io::parse_result(catalog);
    check_export(wanted);
  });
  io::check_output(world, wanted.target, "", context.output_options());
  const std::string words = text(wanted.what, " of ", counted(wanted.result.samples, "sample"));
  if (context.options.flag("dry-run")) {
    log_info(text("would write ", wanted.target, ": ", words, ", about ",
                  spelled_bytes(estimate_bytes(wanted))));
    return ExitStatus::kDone;
  }

  Bytes bytes;
  std::int64_t bytes_read = 0;
  on_root(world, "reading the result", [&] {
    const PhaseTimer timer(context.times, Phase::kRead);
    const io::DataFile file(catalog);
    bytes = make_bytes(file, wanted);
    bytes_read = file.bytes_read();
  });
  const PhaseTimer timer(context.times, Phase::kWrite);
  io::write_whole_file(world, wanted.target, bytes, context.output_options());

  context.report.add_bytes_read(bytes_read);
  context.report.add_bytes_written(std::ssize(bytes));
  context.report.set("samples", wanted.result.samples);
  context.report.set("seconds", now_seconds() - start);
  log_info(text("wrote ", wanted.target, ": ", words, ", ", spelled_bytes(std::ssize(bytes))));
  return ExitStatus::kDone;
}

}  // namespace

Job export_job() {
  namespace po = boost::program_options;
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  po::options_description options("export");
  // clang-format off
  options.add_options()
      ("result", word("FILE")->required(), "result or network file")
      ("to", word("FORMAT")->required(), "of a result: tsv (text, counted from 1) or npy (NumPy, "
       "counted from 0). Of a network: npy (dense, outputs x inputs), npz (SciPy's csr_matrix), mtx "
       "(Matrix Market), graphchallenge, each one file a layer; onnx and safetensors (dense, with "
       "zeros)")
      ("out,o", word("FILE-OR-DIR")->required(), "file to write; of several layers or a model, the folder")
      ("base", word("MODEL"), "safetensors: a model (folder or file) whose tensors the network's layers "
       "replace; names, types, files and all else stay")
      ("what", word("WHAT")->default_value("categories"),
       "of a result. categories: ids of samples with a non-zero output, one a line. "
       "tsv also: top (lines sample<TAB>output<TAB>value of the K largest outputs of each sample), "
       "output (the same of all non-zero outputs). npy also: alive, top_index, top_value, output "
       "(dense, samples x outputs)");
  // clang-format on
  return {
      "export",
      "write a result or a network in another format",
      "export FILE --to FORMAT -o FILE-OR-DIR",
      {"espalier export result.h5 --to tsv -o categories.tsv",
       "espalier export result.h5 --to npy --what top_index -o top.npy",
       "espalier export net.h5 --to npz -o layers", "espalier export net.h5 --to onnx -o net.onnx",
       "espalier export pruned.h5 --to safetensors --base model -o pruned-model"},
      {"result"},
      options,
      run_export};
}

}  // namespace espalier::jobs
