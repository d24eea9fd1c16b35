// generate: networks and batches for tests and benchmarks.
#include "jobs/generate.hpp"

#include <set>

#include "framework/agree.hpp"

namespace espalier::jobs {
namespace {

// One kind of output, and the options that have a meaning for it.
struct Kind {
  std::string name;
  std::set<std::string> options;
  ExitStatus (*run)(Context&);
};

const std::vector<Kind>& all_kinds() {
  static const std::vector<Kind> kinds = {
      {"radixnet", {"neurons", "layers", "bias", "clamp", "layout"}, generate_radixnet},
      {"random",
       {"layers", "density", "activation", "last-activation", "bias-mode", "alpha", "clamp",
        "no-bias", "layout"},
       generate_random},
      {"lenet", {"layout"}, generate_lenet},
      {"xmc", {"labels", "hidden", "fan-in", "group", "layout"}, generate_xmc},
      {"images", {"neurons", "samples"}, generate_images},
      {"batch", {"features", "samples", "density", "dense", "labels"}, generate_batch}};
  return kinds;
}

const Kind& find_kind(const Options& options) {
  std::vector<std::string> names;
  std::set<std::string> any;
  for (const Kind& kind : all_kinds()) {
    names.push_back(kind.name);
    any.insert(kind.options.begin(), kind.options.end());
  }
  const std::string wanted = options.choice("what", names);
  for (const Kind& kind : all_kinds()) {
    if (kind.name != wanted) {
      continue;
    }
    for (const std::string& name : any) {
      const bool is_flag = name == "dense" || name == "no-bias";
      const bool set = is_flag ? options.flag(name) : options.given(name);
      if (set && !kind.options.contains(name)) {
        throw options.fault(name, "has no meaning for generate " + wanted);
      }
    }
    return kind;
  }
  throw BugError("a choice is one of the kinds");
}

ExitStatus run_generate(Context& context) {
  const Kind* kind = nullptr;
  locally(context.world, "reading options", [&] { kind = &find_kind(context.options); });
  return kind->run(context);
}

}  // namespace

std::uint64_t seed_option(const Options& options) {
  return static_cast<std::uint64_t>(options.integer("seed"));
}

double density_option(const Options& options) {
  const double density = options.number("density");
  if (density < 0 || density > 1) {
    throw options.fault("density", text(density, " is out of range, right is 0 to 1"));
  }
  return density;
}

Job generate_job() {
  namespace po = boost::program_options;
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  const auto count = [](const char* name) { return po::value<std::int64_t>()->value_name(name); };
  const auto number = [](const char* name) { return po::value<double>()->value_name(name); };
  po::options_description options("generate");
  // clang-format off
  options.add_options()
      ("what", word("WHAT")->required(), "radixnet: the GraphChallenge topology; random: an "
       "unstructured network; lenet: LeNet-5's convolutions, pooling and layers for images of 28 x "
       "28; xmc: an output layer of very many labels; images: strokes, some of which survive a radixnet; batch: random "
       "features")
      ("out,o", word("FILE")->required(), "network or batch file to write")
      ("neurons", count("N"), "radixnet, images: neurons of a layer, features of an image; for "
       "radixnet a power of two from 32")
      ("layers", word("L"), "radixnet: number of layers; random: widths from input to output, as "
       "in 784,4096,4096,10")
      ("samples", count("M"), "images, batch: number of samples")
      ("features", count("N"), "batch: features of a sample")
      ("density", number("D"), "random, batch: share of non-zeros, 0 to 1")
      ("bias", number("B"), "radixnet: bias of all neurons; without it the challenge's for its "
       "sizes and -0.30 - 0.05 log4(N/1024) for others")
      ("clamp", number("C"), "radixnet: upper limit of an output, without it 32; random: without "
       "it none")
      ("activation", word("NAME")->default_value("relu"), "random: after every layer but the last: "
       "identity, relu, leaky_relu, elu, gelu, silu, sigmoid or tanh")
      ("last-activation", word("NAME"), "random: after the last layer, also softmax; without it "
       "the same as the others")
      ("alpha", number("A"), "random: slope of leaky_relu below zero, without it 0.01; limit of "
       "elu, without it 1")
      ("bias-mode", word("MODE")->default_value("always"), "random: bias added always, or only to "
       "sums that are not zero (nonzero)")
      ("no-bias", po::bool_switch(), "random: leave out biases")
      ("layout", word("LAYOUT")->default_value("csr"), "radixnet, random, lenet, xmc: csr or triplets")
      ("dense", po::bool_switch(), "batch: store zeros too")
      ("labels", count("C"), "batch: random labels 0..C-1; xmc: number of labels")
      ("hidden", count("N"), "xmc: neurons that the labels read")
      ("fan-in", count("N"), "xmc: weights of a label")
      ("group", count("G"), "xmc: so many labels after each other read the same neurons, without "
       "it each its own");
  // clang-format on
  return {
      "generate",
      "make a seeded network or batch for tests and benchmarks",
      "generate radixnet|random|lenet|xmc|images|batch ... -o FILE",
      {"espalier generate radixnet --neurons 1024 --layers 120 --seed 1 -o net.h5",
       "espalier generate images --neurons 1024 --samples 60000 --seed 1 -o batch.h5",
       "mpirun -n 4 espalier generate random --layers 784,4096,4096,10 --density 0.1 --seed 1 "
       "-o net.h5",
       "espalier generate lenet --seed 1 -o lenet.h5",
       "espalier generate xmc --labels 2800000 --hidden 1024 --fan-in 32 --group 16 -o labels.h5",
       "espalier generate batch --features 784 --samples 1000 --density 0.2 --labels 10 "
       "-o batch.h5"},
      {"what"},
      options,
      run_generate};
}

}  // namespace espalier::jobs
