// Sparse (rows x cols) times dense (cols x samples) by several libraries on one thread, behind a
// plain C interface that peers.py drives: one product of each in turn, timed by the thread's clock.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/limits.hpp"
#include "kernels/spmm.hpp"
#ifdef PEER_EIGEN
#include <Eigen/SparseCore>
#endif
#ifdef PEER_OPENBLAS
#include <cblas-openblas.h>
#endif
#ifdef PEER_XSMM
#include <libxsmm.h>
#include <libxsmm_spmdm.h>
#endif
#ifdef PEER_GRAPHBLAS
extern "C" {  // which the header leaves out
#include <GraphBLAS.h>
}
#endif

namespace {

using espalier::kernels::kPanelWidth;

struct Problem {
  espalier::kernels::CsrRows rows;
  std::int64_t samples = 0;
  const float* in = nullptr;  // (cols x samples), row-major; borrowed
};

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::vector<float> dense_of(const espalier::kernels::CsrRows& rows) {
  std::vector<float> dense(at(rows.rows() * rows.cols), 0.0F);
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t k = rows.pointers[at(row)]; k < rows.pointers[at(row + 1)]; ++k) {
      dense[at(row * rows.cols + rows.indices[at(k)])] = rows.values[at(k)];
    }
  }
  return dense;
}

class Peer {
 public:
  explicit Peer(const Problem& problem) : problem_(problem) {}
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  virtual void run() = 0;
  virtual float value(std::int64_t row, std::int64_t sample) = 0;

 protected:
  std::int64_t rows() const { return problem_.rows.rows(); }
  std::int64_t cols() const { return problem_.rows.cols; }
  std::int64_t samples() const { return problem_.samples; }
  const Problem& problem_;
};

// Row-major output (rows x samples).
class RowMajorPeer : public Peer {
 public:
  explicit RowMajorPeer(const Problem& problem)
      : Peer(problem), out_(at(problem.rows.rows() * problem.samples), 0.0F) {}
  float value(std::int64_t row, std::int64_t sample) override {
    return out_[at(row * samples() + sample)];
  }

 protected:
  std::vector<float> out_;
};

struct AlignedFloats {
  explicit AlignedFloats(std::int64_t count)
      : data(static_cast<float*>(std::aligned_alloc(64, at(count) * sizeof(float))), &std::free) {
    if (data == nullptr) throw std::bad_alloc();
    std::fill_n(data.get(), count, 0.0F);
  }
  std::unique_ptr<float, void (*)(void*)> data;
};

// Panels in, panels out, as layers follow one another in `infer`.
class Espalier : public Peer {
 public:
  explicit Espalier(const Problem& problem)
      : Peer(problem),
        panels_((samples() + kPanelWidth - 1) / kPanelWidth),
        in_(panels_ * cols() * kPanelWidth),
        out_(panels_ * rows() * kPanelWidth) {
    std::vector<std::uint32_t> inputs(at(cols()));
    std::iota(inputs.begin(), inputs.end(), 0U);
    packed_ = espalier::kernels::pack_layer(problem.rows, inputs, {}, {});
    for (std::int64_t s = 0; s < samples(); ++s) {
      float* panel = in_.data.get() + s / kPanelWidth * cols() * kPanelWidth;
      for (std::int64_t c = 0; c < cols(); ++c) {
        panel[c * kPanelWidth + s % kPanelWidth] = problem.in[c * samples() + s];
      }
    }
  }
  void run() override {
    std::array<std::uint32_t, kPanelWidth> alive{};
    for (std::int64_t p = 0; p < panels_; ++p) {
      espalier::kernels::spmm(packed_, in_.data.get() + p * cols() * kPanelWidth,
                              out_.data.get() + p * rows() * kPanelWidth, 0, rows(), alive.data());
    }
  }
  float value(std::int64_t row, std::int64_t s) override {
    return out_.data.get()[(s / kPanelWidth * rows() + row) * kPanelWidth + s % kPanelWidth];
  }

 private:
  std::int64_t panels_;
  AlignedFloats in_, out_;
  espalier::kernels::PackedLayer packed_;
};

#ifdef PEER_EIGEN
class EigenSparse : public RowMajorPeer {
 public:
  explicit EigenSparse(const Problem& problem)
      : RowMajorPeer(problem),
        pointers_(problem.rows.pointers.begin(), problem.rows.pointers.end()),
        indices_(problem.rows.indices.begin(), problem.rows.indices.end()) {}
  void run() override {
    using Dense = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const Eigen::SparseMatrix<float, Eigen::RowMajor>> a(
        rows(), cols(), problem_.rows.nnz(), pointers_.data(), indices_.data(),
        problem_.rows.values.data());
    const Eigen::Map<const Dense> b(problem_.in, cols(), samples());
    Eigen::Map<Dense>(out_.data(), rows(), samples()).noalias() = a * b;
  }

 private:
  std::vector<int> pointers_, indices_;
};
#endif

#ifdef PEER_OPENBLAS
class OpenBlas : public RowMajorPeer {
 public:
  explicit OpenBlas(const Problem& problem) : RowMajorPeer(problem), a_(dense_of(problem.rows)) {
    openblas_set_num_threads(1);
  }
  void run() override {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<blasint>(rows()),
                static_cast<blasint>(samples()), static_cast<blasint>(cols()), 1.0F, a_.data(),
                static_cast<blasint>(cols()), problem_.in, static_cast<blasint>(samples()), 0.0F,
                out_.data(), static_cast<blasint>(samples()));
  }

 private:
  std::vector<float> a_;
};
#endif

#ifdef PEER_XSMM
class Xsmm : public RowMajorPeer {
 public:
  explicit Xsmm(const Problem& problem) : RowMajorPeer(problem) {
    libxsmm_init();
    const std::vector<float> a = dense_of(problem.rows);
    libxsmm_spmdm_init(static_cast<int>(rows()), static_cast<int>(samples()),
                       static_cast<int>(cols()), 1, &handle_, &slices_);
    const int blocks = libxsmm_spmdm_get_num_createSparseSlice_blocks(&handle_);
    for (int block = 0; block < blocks; ++block) {
      libxsmm_spmdm_createSparseSlice_fp32_thread(&handle_, 'N', a.data(), slices_, block, 0, 1);
    }
  }
  ~Xsmm() override { libxsmm_spmdm_destroy(&handle_); }
  Xsmm(const Xsmm&) = delete;
  Xsmm& operator=(const Xsmm&) = delete;
  void run() override {
    const float one = 1, zero = 0;
    const int blocks = libxsmm_spmdm_get_num_compute_blocks(&handle_);
    for (int block = 0; block < blocks; ++block) {
      libxsmm_spmdm_compute_fp32_thread(&handle_, 'N', 'N', &one, slices_, problem_.in, 'N', &zero,
                                        out_.data(), block, 0, 1);
    }
  }

 private:
  libxsmm_spmdm_handle handle_{};
  libxsmm_CSR_sparseslice* slices_ = nullptr;
};
#endif

#ifdef PEER_GRAPHBLAS
void must(GrB_Info info) {
  if (info != GrB_SUCCESS) throw std::runtime_error("GraphBLAS: " + std::to_string(info));
}

class GraphBlas : public Peer {
 public:
  explicit GraphBlas(const Problem& problem) : Peer(problem) {
    static const GrB_Info started = GrB_init(GrB_NONBLOCKING);
    must(started);
    must(GxB_Global_Option_set(GxB_GLOBAL_NTHREADS, 1));
    std::vector<GrB_Index> i, j(problem.rows.indices.begin(), problem.rows.indices.end());
    for (std::int64_t row = 0; row < rows(); ++row) {
      i.resize(at(problem.rows.pointers[at(row + 1)]), static_cast<GrB_Index>(row));
    }
    must(GrB_Matrix_new(&a_, GrB_FP32, at(rows()), at(cols())));
    must(GrB_Matrix_build_FP32(a_, i.data(), j.data(), problem.rows.values.data(), i.size(),
                               GrB_PLUS_FP32));
    must(GrB_Matrix_new(&b_, GrB_FP32, at(cols()), at(samples())));
    const std::size_t bytes = at(cols() * samples()) * sizeof(float);
    void* copy = std::malloc(bytes);
    if (copy == nullptr) throw std::bad_alloc();
    std::copy_n(problem.in, cols() * samples(), static_cast<float*>(copy));
    must(GxB_Matrix_pack_FullR(b_, &copy, bytes, false, nullptr));
    must(GrB_Matrix_new(&c_, GrB_FP32, at(rows()), at(samples())));
  }
  ~GraphBlas() override {
    GrB_Matrix_free(&a_);
    GrB_Matrix_free(&b_);
    GrB_Matrix_free(&c_);
  }
  GraphBlas(const GraphBlas&) = delete;
  GraphBlas& operator=(const GraphBlas&) = delete;
  void run() override {
    must(GrB_mxm(c_, nullptr, nullptr, GrB_PLUS_TIMES_SEMIRING_FP32, a_, b_, nullptr));
    must(GrB_Matrix_wait(c_, GrB_MATERIALIZE));
  }
  float value(std::int64_t row, std::int64_t sample) override {
    float x = 0;  // stays zero where nothing is stored
    static_cast<void>(GrB_Matrix_extractElement_FP32(&x, c_, at(row), at(sample)));
    return x;
  }

 private:
  GrB_Matrix a_ = nullptr, b_ = nullptr, c_ = nullptr;
};
#endif

struct Kind {
  const char* name;
  std::unique_ptr<Peer> (*make)(const Problem&);
};

template <class T>
std::unique_ptr<Peer> make(const Problem& problem) {
  return std::make_unique<T>(problem);
}

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"espalier", make<Espalier>},
#ifdef PEER_XSMM
      {"libxsmm", make<Xsmm>},
#endif
#ifdef PEER_OPENBLAS
      {"openblas", make<OpenBlas>},
#endif
#ifdef PEER_EIGEN
      {"eigen", make<EigenSparse>},
#endif
#ifdef PEER_GRAPHBLAS
      {"graphblas", make<GraphBlas>},
#endif
  };
  return all;
}

Problem the_problem;
std::vector<std::unique_ptr<Peer>> the_peers;

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

extern "C" {

const char* peer_name(int peer) {
  return peer < static_cast<int>(kinds().size()) ? kinds()[static_cast<std::size_t>(peer)].name
                                                 : nullptr;
}

// Sets the product; `in` has to live until the next call.
void peer_problem(std::int64_t rows, std::int64_t cols, const std::int64_t* pointers,
                  const std::uint32_t* indices, const float* values, std::int64_t samples,
                  const float* in) {
  the_peers.clear();
  the_problem = {};
  the_problem.rows.cols = cols;
  the_problem.rows.pointers.assign(pointers, pointers + rows + 1);
  the_problem.rows.indices.assign(indices, indices + pointers[rows]);
  the_problem.rows.values.assign(values, values + pointers[rows]);
  the_problem.samples = samples;
  the_problem.in = in;
  the_peers.resize(kinds().size());
}

// Seconds of the thread for one product; the first call prepares, outside the time.
double peer_run(int peer) {
  auto& one = the_peers[static_cast<std::size_t>(peer)];
  if (one == nullptr) one = kinds()[static_cast<std::size_t>(peer)].make(the_problem);
  const double start = thread_seconds();
  one->run();
  return thread_seconds() - start;
}

float peer_value(int peer, std::int64_t row, std::int64_t sample) {
  return the_peers[static_cast<std::size_t>(peer)]->value(row, sample);
}

double peer_peak() { return espalier::kernels::measure_fma_peak(); }

}  // extern "C"
