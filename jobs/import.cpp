// import: from other formats to espalier's own.
#include "jobs/import.hpp"

#include <set>

#include "framework/agree.hpp"
#include "jobs/unit_run.hpp"

namespace espalier::jobs {
namespace {

// One way in, and the options that have a meaning for it.
struct Way {
  std::string words;  // for messages
  std::set<std::string> options;
  ExitStatus (*run)(Context&);
};

Way find_way(const Options& options) {
  const std::string from = options.choice("from", {"graphchallenge", "idx", "hdf5", "npy", "npz",
                                                   "mtx", "binsparse", "onnx", "safetensors"});
  if (from == "idx") {
    return {"--from idx", {"images", "labels", "resize", "threshold", "transpose"}, import_idx};
  }
  if (from == "hdf5") {
    return {"--from hdf5", {"features", "features-cols", "labels", "ids"}, import_hdf5};
  }
  if (from == "safetensors") {
    options.texts("model");
    return {"--from safetensors", {"model", "include", "exclude", "layers-file"}, import_model};
  }
  if (from == "onnx") {
    return {"--from onnx", {"model", "layout"}, import_onnx};
  }
  if (from == "npy" || from == "npz" || from == "mtx" || from == "binsparse") {
    if (options.given("model") && options.given("features")) {
      throw options.fault("model", "goes against --features: import one at a time");
    }
    if (options.given("features")) {
      return {text("--from ", from, " --features"),
              {"features", "labels", "transpose"},
              import_matrix_features};
    }
    return {text("--from ", from),
            {"model", "include", "exclude", "transpose", "activation", "last-activation", "clamp",
             "layout"},
            import_matrix_layers};
  }
  if (options.given("weights") && options.given("features")) {
    throw options.fault("weights", "goes against --features: import one at a time");
  }
  if (options.given("features")) {
    return {"--from graphchallenge --features",
            {"features", "neurons", "samples"},
            import_challenge_features};
  }
  return {"--from graphchallenge --weights",
          {"weights", "neurons", "layers", "bias", "clamp", "layout"},
          import_challenge_network};
}

void refuse_other_options(const Options& options, const Way& way) {
  static const std::vector<std::string> kAll = {
      "weights",    "features",        "neurons",       "layers", "bias",    "clamp",
      "layout",     "samples",         "images",        "labels", "resize",  "threshold",
      "ids",        "transpose",       "features-cols", "model",  "include", "exclude",
      "activation", "last-activation", "layers-file"};
  for (const std::string& name : kAll) {
    const bool set = name == "transpose" ? options.flag(name) : options.given(name);
    if (set && !way.options.contains(name)) {
      throw options.fault(name, "has no meaning for " + way.words);
    }
  }
}

ExitStatus run_import(Context& context) {
  const Way way = locally(context.world, "reading options", [&] {
    Way found = find_way(context.options);
    refuse_other_options(context.options, found);
    return found;
  });
  return way.run(context);
}

}  // namespace

Job import_job() {
  namespace po = boost::program_options;
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  const auto count = [](const char* name) { return po::value<std::int64_t>()->value_name(name); };
  po::options_description options("import");
  // clang-format off
  options.add_options()
      ("from", word("FORMAT")->required(), "graphchallenge, idx (MNIST), hdf5 (also NetCDF-4), npy, npz "
       "(NumPy's and SciPy's), mtx (Matrix Market, also .smtx), binsparse (HDF5), onnx or safetensors")
      ("out,o", word("FILE")->required(), "network or batch file to write")
      ("weights", word("DIR"), "graphchallenge: folder with nN-l1.tsv, nN-l2.tsv, ... (lines: "
       "input<TAB>output<TAB>weight, from 1); makes a network")
      ("model", po::value<std::vector<std::string>>()->multitoken()->value_name("FILE..."),
       "npy, npz, mtx, binsparse (FILE or FILE:/group): one layer an array (outputs x inputs), in "
       "this order; an array of one dimension is the bias of the layer before it; onnx: a chain of "
       "layers; safetensors: files, or the folder of a model, weights being tensors of two dimensions "
       "or more, outputs first; makes a network")
      ("include", word("RE"), "npy, npz, mtx, binsparse, safetensors: only arrays with this in their names")
      ("exclude", word("RE"), "npy, npz, mtx, binsparse, safetensors: no arrays with this in their names")
      ("activation", word("NAME"), "npy, npz, mtx, binsparse: of all layers; without it identity")
      ("last-activation", word("NAME"), "npy, npz, mtx, binsparse: of the last layer")
      ("layers-file", word("FILE"), "safetensors: JSON list that states the layers in order, with "
       "activations and inputs (see io/FORMAT.md); without it the graph of layers is not known, and "
       "the network can be pruned and exported, but not run")
      ("neurons", count("N"), "graphchallenge: neurons of every layer, or features of a sample")
      ("layers", count("L"), "graphchallenge: number of layers")
      ("bias", po::value<double>()->value_name("B"), "graphchallenge: bias of all neurons, added "
       "where the sum is not zero; without it the challenge's own for N")
      ("clamp", po::value<double>()->value_name("C"), "upper limit of an output; without it 32 for "
       "graphchallenge, none for others")
      ("layout", word("LAYOUT")->default_value("csr"), "of sparse layers: csr or triplets")
      ("features", word("FILE"), "graphchallenge: file of sample<TAB>feature<TAB>value, from 1; "
       "hdf5: FILE:/path of an array (samples x features, further dimensions are flattened) or of "
       "a CSR group (data, indices, indptr, or binsparse); npy, npz, mtx, binsparse: samples x "
       "features; "
       "makes a batch")
      ("samples", count("M"), "graphchallenge: number of samples; without it the largest found")
      ("features-cols", count("N"), "hdf5: features of a sample, for a CSR group without shape")
      ("images", word("FILE"), "idx: images; makes a batch")
      ("labels", word("FILE"), "idx: file of labels; hdf5: FILE:/path of whole numbers; npy, npz, mtx: "
       ".npy of whole numbers")
      ("ids", word("FILE:/path"), "hdf5: sample ids, whole numbers or text; kept in results")
      ("resize", count("S"), "idx: resize images to S x S pixels first (Lanczos)")
      ("threshold", count("T"), "idx: 1 for pixels above T (0..255), 0 for others; without it the "
       "bytes are kept")
      ("transpose", po::bool_switch(), "idx: feature = column * S + row, as in GraphChallenge, "
       "instead of row * S + column; npy, npz, mtx: rows are inputs (or features), columns outputs "
       "(or samples)");
  // clang-format on
  add_unit_options(options);
  return {"import",
          "make a network or batch file from another format",
          "import --from FORMAT ... -o FILE",
          {"espalier import --from graphchallenge --weights neuron1024 --neurons 1024 --layers 120 "
           "-o net.h5",
           "espalier import --from graphchallenge --features sparse-images-1024.tsv --neurons 1024 "
           "-o batch.h5",
           "espalier import --from idx --images train-images-idx3-ubyte --labels "
           "train-labels-idx1-ubyte --resize 32 --threshold 184 --transpose -o mnist.h5",
           "mpirun -n 4 espalier import --from hdf5 --features data.h5:/x --labels data.h5:/y "
           "--ids data.h5:/name -o batch.h5",
           "espalier import --from npz --model layer1.npz layer2.npz --activation relu -o net.h5",
           "espalier import --from onnx --model model.onnx -o net.h5",
           "espalier import --from npy --features x.npy --labels y.npy -o batch.h5",
           "espalier import --from safetensors --model model.safetensors --layers-file layers.json "
           "-o net.h5"},
          {},
          options,
          run_import};
}

}  // namespace espalier::jobs
