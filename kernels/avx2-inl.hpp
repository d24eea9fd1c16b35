// The innermost loops for AVX2 by hand, where its sixteen registers are just enough: compilers keep
// two of twelve sums in memory when two inputs are done in a turn, load an activation for each of
// its rows, and work out an index of its own for each weight.
#if defined(ESPALIER_KERNELS_AVX2_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_AVX2_INL
#undef ESPALIER_KERNELS_AVX2_INL
#else
#define ESPALIER_KERNELS_AVX2_INL
#endif

#include <hwy/highway.h>

#include "kernels/epilogue-inl.hpp"

#undef ESPALIER_AVX2_BY_HAND
#if HWY_TARGET == HWY_AVX2 && HWY_ARCH_X86_64 && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG)
#define ESPALIER_AVX2_BY_HAND

#ifndef ESPALIER_AVX2_TEXT
#define ESPALIER_AVX2_TEXT

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

// One weight of a row, in all lanes of register 15, times the 64 columns of an input; its index
// lies at `at`.
#define ESPALIER_COLUMNS(at)                       \
  "movzwl " at ",%%eax\n"                          \
  "shl $8,%%eax\n"                                 \
  "vfmadd231ps (%[in],%%rax),%%ymm15,%[sum0]\n"    \
  "vfmadd231ps 32(%[in],%%rax),%%ymm15,%[sum1]\n"  \
  "vfmadd231ps 64(%[in],%%rax),%%ymm15,%[sum2]\n"  \
  "vfmadd231ps 96(%[in],%%rax),%%ymm15,%[sum3]\n"  \
  "vfmadd231ps 128(%[in],%%rax),%%ymm15,%[sum4]\n" \
  "vfmadd231ps 160(%[in],%%rax),%%ymm15,%[sum5]\n" \
  "vfmadd231ps 192(%[in],%%rax),%%ymm15,%[sum6]\n" \
  "vfmadd231ps 224(%[in],%%rax),%%ymm15,%[sum7]\n"
#define ESPALIER_ONE_WEIGHT          \
  "vbroadcastss (%[w]),%%ymm15\n"    \
  ESPALIER_COLUMNS("(%[index])")
#define ESPALIER_FOUR_WEIGHTS              \
  "vbroadcastf128 (%[w]),%%ymm14\n"        \
  "vpermilps $0,%%ymm14,%%ymm15\n"         \
  ESPALIER_COLUMNS("(%[index])")           \
  "vpermilps $0x55,%%ymm14,%%ymm15\n"      \
  ESPALIER_COLUMNS("2(%[index])")          \
  "vpermilps $0xaa,%%ymm14,%%ymm15\n"      \
  ESPALIER_COLUMNS("4(%[index])")          \
  "vpermilps $0xff,%%ymm14,%%ymm15\n"      \
  ESPALIER_COLUMNS("6(%[index])")

#define ESPALIER_ROW_SUM(vector) [sum##vector] "+x"(sums[vector].raw)
#define ESPALIER_ROW_SUMS                                                                 \
  ESPALIER_ROW_SUM(0), ESPALIER_ROW_SUM(1), ESPALIER_ROW_SUM(2), ESPALIER_ROW_SUM(3),     \
  ESPALIER_ROW_SUM(4), ESPALIER_ROW_SUM(5), ESPALIER_ROW_SUM(6), ESPALIER_ROW_SUM(7)
// clang-format on

#define ESPALIER_ADD_WEIGHTS(which)                           \
  asm volatile(which:ESPALIER_ROW_SUMS                        \
               : [in] "r"(in), [index] "r"(index), [w] "r"(w) \
               : "rax", "xmm14", "xmm15", "cc", "memory")

#define ESPALIER_ADD_INPUTS(vectors)                                                   \
  asm volatile(ESPALIER_INPUTS(vectors)                                                \
               : ESPALIER_SUMS_##vectors                                               \
               : [inputs] "r"(inputs), [end] "r"(inputs + (count & ~int64_t{1})),      \
                 [count] "m"(count), [column] "r"(column * sizeof(float)), [w] "r"(w), \
                 [stride] "r"(step * int64_t{sizeof(float)})                           \
               : "rax", "rcx", "rdx", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory")

#endif  // ESPALIER_AVX2_TEXT

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

// Adds `count` inputs' 64 columns, times their weights, to the sums of one row.
//   shapes   in: the input of index 0; index, w (count); sums (8)
HWY_INLINE void add_to_one_row(const float* in, const uint16_t* index, const float* w,
                               uint32_t count, Vector* sums) {
  const float* const fours = w + count / 4 * 4;
  const float* const end = w + count;
  for (; w < fours; w += 4, index += 4) ESPALIER_ADD_WEIGHTS(ESPALIER_FOUR_WEIGHTS);
  for (; w < end; ++w, ++index) ESPALIER_ADD_WEIGHTS(ESPALIER_ONE_WEIGHT);
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();
#endif  // AVX2

#endif  // include guard per target
