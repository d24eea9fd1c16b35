// What is known of the inputs of layers, from a file of the user's (io/FORMAT.md, "Activation
// statistics").
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "framework/shard.hpp"
#include "io/model.hpp"

namespace espalier::jobs {

// A safetensors file with `LAYER.norms` or `LAYER.gram` for layers; LAYER is the name of a layer,
// or that of its weight with or without ".weight". What follows is local.
//   throws   Error(kBadData) naming file, tensor, what was found and what would be right; kIoFailed
class ActivationStats {
 public:
  //   where    collective over `comm`
  //   throws   SharedError as io::read_model
  ActivationStats(const Comm& comm, const std::string& file);

  const std::string& file() const noexcept { return model_.place; }
  // Whether there is a Gram matrix for a layer.
  bool has_gram(const std::string& layer) const { return find(layer, "gram") != nullptr; }

  // The Euclidean norm of each input over all samples, ||x_j||; from the diagonal of the Gram
  // matrix if there are no norms.
  //   shapes   result (cols)
  std::vector<float> norms(const std::string& layer, std::int64_t cols) const;
  // Rows of the Gram matrix of the inputs, sum of x x^T over all samples.
  //   shapes   result (rows.size() x cols), row-major
  std::vector<float> gram(const std::string& layer, std::int64_t cols, Range rows) const;

 private:
  const io::Tensor* find(const std::string& layer, const std::string& what) const;
  const io::Tensor& need(const std::string& layer, const std::string& what,
                         const std::vector<std::int64_t>& shape) const;
  std::vector<float> read(const io::Tensor& tensor, std::int64_t first, std::int64_t count) const;

  io::Model model_;
  std::unique_ptr<io::InputFile> file_;
};

}  // namespace espalier::jobs
