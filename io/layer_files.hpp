// Layers as files of other formats, written row by row.
#pragma once

#include <cstdint>
#include <string>

#include "io/network_file.hpp"

namespace espalier::io {

// Each writes the weights of one layer to `path`, complete or not at all; `force` replaces a file.
// Rows are outputs. Stored zeros are left out of sparse formats.
//   where    local, independent: ranks may write different layers at the same time
//   throws   Error: as FileWriter and NetworkReader
//   cost     the layer is read once (npy, tsv), twice (mtx) or three times (npz), a few MiB at a
//            time
//   exact    float32 as stored; in text the shortest digits that give the same float32 again

// A dense .npy array, outputs x inputs.
void write_npy(const NetworkReader& reader, std::int64_t layer, const std::string& path,
               bool force);
// SciPy's csr_matrix as scipy.sparse.save_npz has it, uncompressed.
void write_scipy_npz(const NetworkReader& reader, std::int64_t layer, const std::string& path,
                     bool force);
// Matrix Market: coordinate real general, sorted by row.
void write_mtx(const NetworkReader& reader, std::int64_t layer, const std::string& path,
               bool force);
// GraphChallenge: lines input<TAB>output<TAB>weight, from 1, sorted by output.
void write_challenge_layer(const NetworkReader& reader, std::int64_t layer, const std::string& path,
                           bool force);

// The biases of a layer, one an output: a .npy of one dimension, or a Matrix Market array.
void write_npy_bias(const NetworkReader& reader, std::int64_t layer, const std::string& path,
                    bool force);
void write_mtx_bias(const NetworkReader& reader, std::int64_t layer, const std::string& path,
                    bool force);

}  // namespace espalier::io
