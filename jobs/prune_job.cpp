// What espalier prune may be asked.
#include <string>

#include "jobs/job.hpp"
#include "jobs/prune.hpp"
#include "jobs/unit_run.hpp"

namespace espalier::jobs {

Job prune_job() {
  namespace po = boost::program_options;
  po::options_description options("prune");
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  // clang-format off
  options.add_options()
      ("network", word("NET")->required(), "network file, of any layout")
      ("out,o", word("NET2")->required(), "network file to write; with --to the folder of a model")
      ("to", word("FORMAT"),
       "safetensors: NET is a whole model (a folder with its index and side files, or a file), and "
       "so is the output: the same names, types and files, zeros where weights went")
      ("method", word("M")->required(),
       "magnitude (the largest stay), lamp (the same, weighed against the larger ones of each layer), threshold (|w| >= t stay), random, l1 and lp (proximal steps: "
       "what stays shrinks), group (whole rows, columns, blocks or filters), nm (N of every M inputs stay), mask (what has a non-zero in --file "
       "stays), scores (the largest in --file stay), bias (dead neurons go: what has no inputs left "
       "is folded into the next biases, what nobody reads is dropped; layers become smaller). With "
       "--calibrate: wanda (|w| times the norm of its input), sparsegpt (later weights make up for "
       "those that go), bias (|w| times the deviation of its input; biases make up)")
      ("sparsity", po::value<double>()->value_name("S"),
       "share of all rows x columns (or of all groups) that is pruned, 0 to 1; absent weights count "
       "as pruned")
      ("keep", po::value<std::int64_t>()->value_name("K"),
       "number of weights (or groups) that stay: in all, or of each layer or row as --scope says")
      ("threshold", po::value<double>()->value_name("T"),
       "what magnitudes are compared with; for l1 and lp the weight of the penalty")
      ("scope", word("SCOPE")->default_value("global"),
       "among which weights the largest are looked for: global, layer or row")
      ("profile", word("PROFILE"),
       "a sparsity for each layer: uniform, erk (more for layers that are large for their width), owl "
       "(for wanda, sparsegpt and bias --calibrate: less for layers with outliers), or list:S0,S1,… with one for each layer")
      ("calibrate", word("BATCH"), "samples for methods that look at what layers are fed with")
      ("activation-stats", word("FILE"),
       "instead of --calibrate, for wanda, sparsegpt and --update: safetensors with LAYER.norms or "
       "LAYER.gram, the norms or Gram matrix of each layer's inputs, as the PyTorch hook in "
       "tests/examples/activation_stats.py writes them; with --to too")
      ("update", po::bool_switch(),
       "after any mask: least squares for the weights that stay, on the samples of --calibrate or "
       "the Gram matrices of --activation-stats")
      ("rounds", po::value<std::int64_t>()->value_name("N")->default_value(1),
       "with --calibrate: reach the sparsity in N steps, with new inputs of the layers for each")
      ("schedule", word("SCHEDULE")->default_value("cubic"),
       "how sparsity grows over --rounds: cubic (fast first) or linear")
      ("outlier", po::value<double>()->value_name("M")->default_value(5),
       "of owl: weights count that are M times their layer's mean of |w| x norm of the input")
      ("spread", po::value<double>()->value_name("L")->default_value(0.08, "0.08"),
       "of owl: sparsities differ by at most 2 L")
      ("exclude", word("RE"), "leave layers alone whose name this extended regular expression finds")
      ("p", word("P"), "exponent of the penalty of lp: 0, 0.5, 2/3 or 1")
      ("pattern", word("N:M"), "of nm: N of every M consecutive inputs stay")
      ("unit", word("UNIT"), "of group: row (of a convolution an output channel), column, block:RxC, or filter (of "
       "convolutions only)")
      ("norm", word("NORM")->default_value("2"),
       "of group: 1 (mean magnitude), 2 (root of the mean square) or inf (largest magnitude)")
      ("prox", po::bool_switch(),
       "of group: the proximal step of the group norm: groups larger than the threshold stay and "
       "shrink by it")
      ("probabilistic", po::bool_switch(),
       "of random: the larger a weight, the more likely it stays; else all are alike")
      ("file", word("FILE"), "network file with the masks or scores as weights")
      ("layout", word("LAYOUT")->default_value("csr"), "of the output: csr or triplets");
  // clang-format on
  add_unit_options(options);
  return {
      "prune",
      "take weights away from a network",
      "prune NET --method M [--sparsity S | --keep K | --threshold T] -o NET2",
      {"espalier prune net.h5 --method magnitude --sparsity 0.9 -o pruned.h5",
       "mpirun -n 4 espalier prune net.h5 --method magnitude --sparsity 0.9 --scope layer "
       "--exclude '^fc3$' --memory-per-rank 512MiB -o pruned.h5",
       "espalier prune net.h5 --method magnitude --sparsity 0.95 --profile erk -o pruned.h5",
       "espalier prune net.h5 --method nm --pattern 2:4 -o pruned.h5",
       "mpirun -n 2 espalier prune llm --to safetensors --method magnitude --sparsity 0.5 "
       "--scope row --exclude 'embed|lm_head' --memory-per-rank 1GiB -o llm-pruned",
       "espalier prune net.h5 --method group --unit block:4x4 --sparsity 0.8 -o pruned.h5",
       "espalier prune lenet.h5 --method group --unit filter --sparsity 0.5 --scope layer -o "
       "pruned.h5",
       "espalier prune pruned.h5 --method bias -o smaller.h5",
       "espalier prune net.h5 --method lamp --sparsity 0.9 -o pruned.h5",
       "espalier prune net.h5 --method wanda --calibrate batch.h5 --sparsity 0.9 -o pruned.h5",
       "espalier prune net.h5 --method sparsegpt --update --calibrate batch.h5 --sparsity 0.7 "
       "--memory-per-rank 2GiB -o pruned.h5",
       "espalier prune llm --to safetensors --method wanda --activation-stats stats.safetensors "
       "--sparsity 0.5 --exclude 'embed|lm_head' -o llm-pruned",
       "espalier prune net.h5 --method lp --p 0.5 --threshold 0.01 -o pruned.h5",
       "espalier prune net.h5 --method scores --file scores.h5 --keep 100000 -o pruned.h5"},
      {"network"},
      options,
      run_prune};
}

}  // namespace espalier::jobs
