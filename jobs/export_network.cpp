// export of networks: one layer a file, or one model.
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <functional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/layer_files.hpp"
#include "io/network_window.hpp"
#include "io/onnx.hpp"
#include "io/part_file.hpp"
#include "jobs/export.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

// A file to be written, and how.
struct File {
  std::string path;
  std::function<void(const io::NetworkReader&, bool force)> write;
};

using WriteLayer = void (*)(const io::NetworkReader&, std::int64_t, const std::string&, bool);

File layer_file(std::string path, WriteLayer write, std::int64_t layer) {
  return {path,
          [=](const io::NetworkReader& reader, bool force) { write(reader, layer, path, force); }};
}

std::string six_digits(std::int64_t number) {
  const std::string digits = text(number);
  return std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

// The challenge has one number of neurons, and one bias for all of them.
std::vector<File> challenge_files(const io::Network& network, const std::string& folder) {
  std::vector<File> files;
  const std::int64_t neurons = network.inputs();
  for (std::size_t k = 0; k < network.layers.size(); ++k) {
    const io::Layer& layer = network.layers[k];
    if (layer.weight.rows != neurons || layer.weight.cols != neurons ||
        layer.bias == io::BiasKind::kFull) {
      throw Error(ExitStatus::kBadData,
                  text("layer ", k, " is ", layer.weight.rows, " x ", layer.weight.cols,
                       layer.bias == io::BiasKind::kFull ? " with a bias for each output" : "",
                       ", right for graphchallenge is ", neurons, " x ", neurons,
                       " in all layers and one bias"));
    }
    const auto id = static_cast<std::int64_t>(k);
    files.push_back(layer_file(text(folder, "/n", neurons, "-l", id + 1, ".tsv"),
                               io::write_challenge_layer, id));
  }
  return files;
}

// One file a layer and one for its bias, in an order that import takes them in again.
std::vector<File> layer_files(const io::Network& network, const std::string& format,
                              const std::string& target) {
  const WriteLayer write = format == "npy"   ? io::write_npy
                           : format == "npz" ? io::write_scipy_npz
                                             : io::write_mtx;
  const WriteLayer write_bias = format == "mtx" ? io::write_mtx_bias : io::write_npy_bias;
  const std::string bias_end = format == "mtx" ? "mtx" : "npy";
  if (network.layers.size() == 1 && network.layers[0].bias == io::BiasKind::kNone &&
      target.ends_with("." + format)) {
    return {layer_file(target, write, 0)};
  }
  std::vector<File> files;
  for (std::size_t k = 0; k < network.layers.size(); ++k) {
    const auto id = static_cast<std::int64_t>(k);
    const std::string start = target + "/" + six_digits(id);
    files.push_back(layer_file(text(start, ".0.weight.", format), write, id));
    if (network.layers[k].bias != io::BiasKind::kNone) {
      files.push_back(layer_file(text(start, ".1.bias.", bias_end), write_bias, id));
    }
  }
  return files;
}

// Where files hold one matrix each, of outputs and inputs.
void check_matrices(const io::Network& network, const std::string& file) {
  for (std::size_t k = 0; k < network.layers.size(); ++k) {
    if (network.layers[k].kind != io::LayerKind::kConnections) {
      throw Error(
          ExitStatus::kBadData,
          text(file, ": layer ", k, " is of kind ", io::to_string(network.layers[k].kind),
               "; right for files of one matrix a layer are layers of connections, --to onnx "
               "takes all"));
    }
  }
}

// What the files do not say, for those who import them again.
void tell_what_is_lost(const io::Network& network, const std::string& format) {
  const io::Layer& first = network.layers.front();
  const kernels::Epilogue& epilogue = first.epilogue;
  log_info(text("not in ", format,
                " files: activations (of layer 0: ", io::to_string(epilogue.activation), ")",
                epilogue.has_clamp ? text(", clamp ", epilogue.clamp) : "",
                format == "graphchallenge" && first.bias != io::BiasKind::kNone ? ", biases" : ""));
}

void make_folder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0777) == 0 || errno == EEXIST) {
    return;
  }
  if (errno == ENOENT || errno == ENOTDIR) {
    throw Error(ExitStatus::kCannotCreate,
                text("cannot create ", folder, ": there is no folder ", io::folder_of(folder)));
  }
  throw_errno(errno, "creating", folder, ExitStatus::kCannotCreate);
}

}  // namespace

ExitStatus export_network(Context& context, const io::Catalog& catalog) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const std::string target = context.options.text("out");
  const bool force = context.output_options().force;
  std::string format;
  const io::NetworkReader reader = locally(world, "opening the network", [&] {
    format = context.options.choice("to",
                                    {"npy", "npz", "mtx", "graphchallenge", "onnx", "safetensors"});
    return io::NetworkReader(catalog);
  });
  const io::Network& network = reader.network();
  const std::vector<File> files = locally(world, "planning files", [&] {
    if (format == "onnx") {
      return std::vector<File>{{target, [&](const io::NetworkReader& of, bool replace) {
                                  io::write_onnx(of, target, replace);
                                }}};
    }
    check_matrices(network, catalog.file);
    return format == "graphchallenge" ? challenge_files(network, target)
                                      : layer_files(network, format, target);
  });
  const bool folder = files[0].path != target;
  const std::string words = text(counted(std::ssize(files), "file"), " of ",
                                 counted(std::ssize(network.layers), "layer"));
  if (context.options.flag("dry-run")) {
    log_info(text("would write ", target, ": ", words));
    return ExitStatus::kDone;
  }
  on_root(world, "looking at the place", [&] {
    if (folder) {
      make_folder(target);
    }
    for (const File& file : files) {
      io::check_place(file.path, force);
    }
  });
  locally(world, "writing files", [&] {
    const PhaseTimer timer(context.times, Phase::kWrite);
    for (std::size_t k = 0; k < files.size(); ++k) {
      if (static_cast<int>(k) % world.ranks() == world.rank()) {
        files[k].write(reader, force);
      }
    }
  });
  if (format != "onnx") {
    tell_what_is_lost(network, format);
  }
  std::int64_t bytes = 0;
  for (const File& file : files) {
    std::error_code failed;
    const auto size = std::filesystem::file_size(file.path, failed);
    bytes += failed ? 0 : static_cast<std::int64_t>(size);
  }
  context.report.add_bytes_read(reader.data().bytes_read());
  context.report.add_bytes_written(world.rank() == 0 ? bytes : 0);
  context.report.set("layers", std::ssize(network.layers));
  context.report.set("seconds", now_seconds() - start);
  log_info(text("wrote ", target, ": ", words, ", ", spelled_bytes(bytes)));
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
