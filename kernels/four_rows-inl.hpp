// Four rows of a tile with all sixteen registers of AVX2. By hand: compilers keep two of the sums
// in memory when two inputs are done in a turn, or load an activation for each of its rows.
#if defined(ESPALIER_KERNELS_FOUR_ROWS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_FOUR_ROWS_INL
#undef ESPALIER_KERNELS_FOUR_ROWS_INL
#else
#define ESPALIER_KERNELS_FOUR_ROWS_INL
#endif

#include <hwy/highway.h>

#include "kernels/epilogue-inl.hpp"

#undef ESPALIER_FOUR_ROWS
#if HWY_TARGET == HWY_AVX2 && HWY_ARCH_X86_64 && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG)
#define ESPALIER_FOUR_ROWS

#ifndef ESPALIER_FOUR_ROWS_TEXT
#define ESPALIER_FOUR_ROWS_TEXT

// clang-format off
// The columns of the input whose address lies at `at`, in registers 12 to 14, or 12 and 13.
#define ESPALIER_LOAD_2(at)             \
  "mov " at ",%%rcx\n"                  \
  "vmovaps (%%rcx,%[column]),%%ymm12\n" \
  "vmovaps 32(%%rcx,%[column]),%%ymm13\n"
#define ESPALIER_LOAD_3(at) \
  ESPALIER_LOAD_2(at)       \
  "vmovaps 64(%%rcx,%[column]),%%ymm14\n"

// The weight at `at` times them, added to a row's sums.
#define ESPALIER_ROW_2(at, row)                     \
  "vbroadcastss " at ",%%ymm15\n"                   \
  "vfmadd231ps %%ymm12,%%ymm15,%[sum" #row "0]\n"   \
  "vfmadd231ps %%ymm13,%%ymm15,%[sum" #row "1]\n"
#define ESPALIER_ROW_3(at, row) \
  ESPALIER_ROW_2(at, row)       \
  "vfmadd231ps %%ymm14,%%ymm15,%[sum" #row "2]\n"

// One input; its weights lie side by side at `w`.
#define ESPALIER_INPUT(vectors, at, w)       \
  ESPALIER_LOAD_##vectors(at)                \
  ESPALIER_ROW_##vectors("(" w ")", 0)       \
  ESPALIER_ROW_##vectors("4(" w ")", 1)      \
  ESPALIER_ROW_##vectors("8(" w ")", 2)      \
  ESPALIER_ROW_##vectors("12(" w ")", 3)

// All inputs, two in a turn; of an odd number the last one alone.
#define ESPALIER_INPUTS(vectors)                               \
  "mov %[inputs],%%rax\n"                                      \
  "mov %[w],%%rdx\n"                                           \
  "cmp %[end],%%rax\n"                                         \
  "jae 2f\n"                                                   \
  "1:\n"                                                       \
  ESPALIER_INPUT(vectors, "(%%rax)", "%%rdx")                  \
  ESPALIER_INPUT(vectors, "8(%%rax)", "%%rdx,%[stride]")       \
  "lea (%%rdx,%[stride],2),%%rdx\n"                            \
  "add $16,%%rax\n"                                            \
  "cmp %[end],%%rax\n"                                         \
  "jb 1b\n"                                                    \
  "2:\n"                                                       \
  "testb $1,%[count]\n"                                        \
  "jz 3f\n"                                                    \
  ESPALIER_INPUT(vectors, "(%%rax)", "%%rdx")                  \
  "3:\n"

#define ESPALIER_SUM(row, vector) [sum##row##vector] "+x"(sums[row][vector].raw)
#define ESPALIER_SUMS_2                     \
  ESPALIER_SUM(0, 0), ESPALIER_SUM(0, 1),   \
  ESPALIER_SUM(1, 0), ESPALIER_SUM(1, 1),   \
  ESPALIER_SUM(2, 0), ESPALIER_SUM(2, 1),   \
  ESPALIER_SUM(3, 0), ESPALIER_SUM(3, 1)
#define ESPALIER_SUMS_3                     \
  ESPALIER_SUMS_2, ESPALIER_SUM(0, 2), ESPALIER_SUM(1, 2), ESPALIER_SUM(2, 2), ESPALIER_SUM(3, 2)
// clang-format on

#define ESPALIER_ADD_INPUTS(vectors)                                                   \
  asm volatile(ESPALIER_INPUTS(vectors)                                                \
               : ESPALIER_SUMS_##vectors                                               \
               : [inputs] "r"(inputs), [end] "r"(inputs + (count & ~int64_t{1})),      \
                 [count] "m"(count), [column] "r"(column * sizeof(float)), [w] "r"(w), \
                 [stride] "r"(step * int64_t{sizeof(float)})                           \
               : "rax", "rcx", "rdx", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory")

#endif  // ESPALIER_FOUR_ROWS_TEXT

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// Adds columns [column, column + kVectors vectors) of all inputs to the sums of four rows.
//   shapes   inputs (count): where each begins; w (count x step), the four rows' weights first
template <int kVectors>
HWY_INLINE void add_to_four_rows(const float* const* inputs, int64_t count, size_t column,
                                 const float* w, int64_t step, Vector (*sums)[kVectors]) {
  static_assert(kVectors == 2 || kVectors == 3);
  if constexpr (kVectors == 3) {
    ESPALIER_ADD_INPUTS(3);
  } else {
    ESPALIER_ADD_INPUTS(2);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();
#endif  // AVX2

#endif  // include guard per target
