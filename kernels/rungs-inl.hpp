// Rows with inputs of their own inside a block of inputs, rows of equal count one after another or
// four at a time, for each SIMD target.
#if defined(ESPALIER_KERNELS_RUNGS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_RUNGS_INL
#undef ESPALIER_KERNELS_RUNGS_INL
#else
#define ESPALIER_KERNELS_RUNGS_INL
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <type_traits>

#include "kernels/avx2-inl.hpp"
#include "kernels/epilogue-inl.hpp"
#include "kernels/half.hpp"
#include "kernels/spmm_args.hpp"

// Registers hold a panel's row of sums four times, and the weights beside them.
#undef ESPALIER_FOUR_ROWS
#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
#define ESPALIER_FOUR_ROWS
#endif

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// Eight chains of sums: what latency 4 x 2 ports needs, and a whole row of a panel with 256 bits.
constexpr int kRowVectors = HWY_MIN(8, static_cast<int>(kPanelWidth / hn::MaxLanes(Tag())));
constexpr size_t kRowColumns = kRowVectors * hn::MaxLanes(Tag());

// Weights inside a block: of one row, or of four rows side by side.
struct RungView {
  const uint16_t* indices;
  const float* values;
  uint32_t count;  // of each row
};

// Where a part's weights begin.
template <bool kIso>
HWY_INLINE RungView first_view(const SpmmArgs& a, const BlockPart& part) {
  return {a.block_indices + part.first_weight, a.block_values + (kIso ? 0 : part.first_weight), 0};
}

// Whether the range holds all rows of a part.
HWY_INLINE bool is_whole(const SpmmArgs& a, const BlockPart& part) {
  return part.row_begin >= a.row_begin && part.row_end <= a.row_end;
}

// Keeps the compiler from folding an address into each of its uses: an instruction with two address
// registers takes two slots of the front end.
template <class Number>
HWY_INLINE const Number* in_register(const Number* address) {
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
  asm("" : "+r"(address));
#endif
  return address;
}

// What is left to fetch of the next block's slice while this block's rows are worked through: a
// slice is read in no order, which no hardware looks ahead of.
struct SliceAhead {
  const float* next;
  const float* end;
  int64_t lines;  // at once

  HWY_INLINE void fetch() {
    for (int64_t line = 0; line < lines && next < end; ++line, next += kLineFloats) {
      __builtin_prefetch(next, 0, 2);
    }
  }
  static constexpr int64_t kLineFloats = 16;
};

HWY_INLINE SliceAhead slice_ahead(const SpmmArgs& a, int64_t p) {
  const int64_t here = a.parts[p].first_input;
  for (int64_t q = p + 1; q < a.part_count; ++q) {
    const int64_t next = a.parts[q].first_input;
    if (next == here) continue;
    const float* begin = a.in + next * kPanelWidth;
    const int64_t floats = HWY_MIN(a.block_inputs, a.inputs - next) * kPanelWidth;
    const int64_t rows = HWY_MIN(a.row_end - a.row_begin, kGroupRows);
    const int64_t times = HWY_MAX(int64_t{1}, rows / a.rows_beside);
    return {begin, begin + floats, floats / SliceAhead::kLineFloats / times + 1};
  }
  return {nullptr, nullptr, 0};
}

HWY_INLINE void add_to_row(Vector weight, const float* x, Vector* sums) {
  const Tag d;
#pragma GCC unroll 8
  for (int v = 0; v < kRowVectors; ++v) {
    sums[v] = hn::MulAdd(weight, hn::Load(d, x + static_cast<size_t>(v) * hn::Lanes(d)), sums[v]);
  }
}

HWY_INLINE const float* input_of(const float* in, size_t index) {
  return in_register(in + index * kPanelWidth);
}

// Every multiply-add needs a load of its own, so four weights are one load, spread in registers.
template <bool kIso>
HWY_INLINE void add_row(const float* in, const RungView& row, Vector* sums) {
#ifdef ESPALIER_AVX2_BY_HAND
  if constexpr (!kIso) return add_to_one_row(in, row.indices, row.values, row.count, sums);
#endif
  const Tag d;
  uint32_t k = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (!kIso) {
    for (; k + 4 <= row.count; k += 4) {
      const auto weights = hn::LoadDup128(d, row.values + k);
      add_to_row(hn::Broadcast<0>(weights), input_of(in, row.indices[k]), sums);
      add_to_row(hn::Broadcast<1>(weights), input_of(in, row.indices[k + 1]), sums);
      add_to_row(hn::Broadcast<2>(weights), input_of(in, row.indices[k + 2]), sums);
      add_to_row(hn::Broadcast<3>(weights), input_of(in, row.indices[k + 3]), sums);
    }
  }
#endif
  for (; k < row.count; ++k) {
    add_to_row(hn::Set(d, row.values[kIso ? 0 : k]), input_of(in, row.indices[k]), sums);
  }
}

// Bias and limits of a row's sums, four vectors at a time: more bits would not fit the registers.
HWY_INLINE void close_row(const SpmmArgs& a, const Vector* sums, float* out, int64_t row,
                          size_t column) {
  constexpr int kSome = HWY_MIN(4, kRowVectors);
  const BitsTag du;
  const size_t lanes = hn::Lanes(Tag());
#pragma GCC unroll 2
  for (int first = 0; first < kRowVectors; first += kSome) {
    BitsVector seen[kSome];
    uint32_t* bits = a.bits + column + static_cast<size_t>(first) * lanes;
#pragma GCC unroll 4
    for (int v = 0; v < kSome; ++v) seen[v] = hn::LoadU(du, bits + static_cast<size_t>(v) * lanes);
    store_row<kSome>(a.epilogue, sums + first, out + static_cast<size_t>(first) * lanes, row, seen);
#pragma GCC unroll 4
    for (int v = 0; v < kSome; ++v) hn::StoreU(seen[v], du, bits + static_cast<size_t>(v) * lanes);
  }
}

// Some columns of a row's sums: those so far, or zero before its first block.
template <bool kOpens>
HWY_INLINE void load_sums(const float* out, Vector* sums) {
  const Tag d;
#pragma GCC unroll 8
  for (int v = 0; v < kRowVectors; ++v) {
    sums[v] = kOpens ? hn::Zero(d) : hn::Load(d, out + static_cast<size_t>(v) * hn::Lanes(d));
  }
}

// The sums with this block, or in the row's last block its outputs.
template <bool kCloses>
HWY_INLINE void store_sums(const SpmmArgs& a, const Vector* sums, float* out, int64_t row,
                           size_t column) {
  const Tag d;
  if (kCloses && a.epilogue.curve == 0) return close_row(a, sums, out, row, column);
#pragma GCC unroll 8
  for (int v = 0; v < kRowVectors; ++v) {
    hn::Store(sums[v], d, out + static_cast<size_t>(v) * hn::Lanes(d));
  }
}

// Activations that are computed value by value, once a row's sums are complete.
template <bool kCloses>
HWY_INLINE void finish_curve(const SpmmArgs& a, int64_t row) {
  if (!kCloses || a.epilogue.curve == 0) return;
  finish_row(a.out + row * kPanelWidth, a.epilogue, row);
  or_row_bits(a.out + row * kPanelWidth, a.bits);
}

template <bool kOpens, bool kCloses, bool kIso>
HWY_INLINE void run_row(const SpmmArgs& a, const float* in, const RungView& view, int64_t row) {
  for (size_t column = 0; column < kPanelWidth; column += kRowColumns) {
    float* const out = a.out + row * kPanelWidth + column;
    Vector sums[kRowVectors];
    load_sums<kOpens>(out, sums);
    add_row<kIso>(in + column, view, sums);
    store_sums<kCloses>(a, sums, out, row, column);
  }
  finish_curve<kCloses>(a, row);
}

// The sums of a row that comes soon: rows are sorted by count, so they lie where no hardware looks
// ahead.
HWY_INLINE void fetch_sums(const SpmmArgs& a, uint32_t row) {
  const float* sums = a.out + size_t{row} * kPanelWidth;
  for (size_t line = 0; line < kPanelWidth; line += 16) __builtin_prefetch(sums + line, 1, 3);
}

// Rows one after another.
template <bool kOpens, bool kCloses, bool kIso>
HWY_NOINLINE void run_rungs(const SpmmArgs& a, const BlockPart& part, SliceAhead& ahead) {
  const float* in = a.in + part.first_input * kPanelWidth;
  const uint32_t* row = a.rung_rows + part.first_place;
  RungView view = first_view<kIso>(a, part);
  const bool whole = is_whole(a, part);
  for (int64_t r = part.begin; r < part.end; ++r) {
    view.count = a.rungs[r].count;
    const uint32_t* const end = row + a.rungs[r].rows;
    for (; row < end; ++row) {
      if (whole || (*row >= a.row_begin && *row < a.row_end)) {
        if (!kOpens) fetch_sums(a, row[kRungAhead]);
        ahead.fetch();
        run_row<kOpens, kCloses, kIso>(a, in, view, *row);
      }
      view.indices += view.count;
      view.values += kIso ? 0 : view.count;
    }
  }
}

// How many rows of a rung stand side by side next, with `left` still to come.
HWY_INLINE uint32_t rows_at_once(const SpmmArgs& a, uint32_t left) {
  return a.rows_beside > 1 && left >= kRowsBeside ? kRowsBeside : 1;
}

#ifdef ESPALIER_FOUR_ROWS

// Where the inputs of two weights of four rows lie, row by row, 16 bits each.
struct IndicesOfFour {
  uint64_t first, second;

  // A vector's load: one of a whole number holds up the loads of vectors behind it.
  HWY_INLINE static IndicesOfFour load(const uint16_t* indices) {
    const hn::FixedTag<uint64_t, 2> d;
    auto both = hn::LoadU(d, reinterpret_cast<const uint64_t*>(indices));
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
    asm("" : "+v"(both.raw));  // or compilers make it two of whole numbers
#endif
    return {hn::GetLane(both), hn::ExtractLane(both, 1)};
  }
};

template <class Number>
HWY_INLINE const Number* input_of_row(const Number* in, uint64_t indices, int row) {
  return in_register(in + (indices >> (16 * row) & 0xFFFFU) * kPanelWidth);
}

// One weight of each of four rows: sixteen multiply-adds.
HWY_INLINE void add_weights_of_four(const float* in, uint64_t indices, Vector weights,
                                    Vector (*sums)[kRowVectors]) {
  add_to_row(hn::Broadcast<0>(weights), input_of_row(in, indices, 0), sums[0]);
  add_to_row(hn::Broadcast<1>(weights), input_of_row(in, indices, 1), sums[1]);
  add_to_row(hn::Broadcast<2>(weights), input_of_row(in, indices, 2), sums[2]);
  add_to_row(hn::Broadcast<3>(weights), input_of_row(in, indices, 3), sums[3]);
}

// Four rows side by side, two weights of each a turn: 35 loads for 32 multiply-adds. The indices
// are loaded a turn ahead, since a load whose address comes from another load waits, and with it
// everything behind.
template <bool kIso>
HWY_INLINE void add_four_rows(const float* in, const RungView& rows, Vector (*sums)[kRowVectors]) {
  const Tag d;
  const uint16_t* indices = rows.indices;
  const float* values = rows.values;
  constexpr int kStep = kIso ? 0 : kRowsBeside;
  const auto load = [&](const float* from)
                        HWY_ATTR { return kIso ? hn::Set(d, *from) : hn::LoadDup128(d, from); };
  auto at_hand = IndicesOfFour::load(indices);
  uint32_t k = 0;
  for (; k + 2 <= rows.count; k += 2) {
    indices += 2 * kRowsBeside;
    const auto next = IndicesOfFour::load(indices);
    add_weights_of_four(in, at_hand.first, load(values), sums);
    add_weights_of_four(in, at_hand.second, load(values + kStep), sums);
    values += 2 * kStep;
    at_hand = next;
  }
  if (k < rows.count) add_weights_of_four(in, at_hand.first, load(values), sums);
}

template <bool kOpens, bool kCloses, bool kIso>
HWY_INLINE void run_four_rows(const SpmmArgs& a, const float* in, const RungView& view,
                              const uint32_t* rows) {
  Vector sums[kRowsBeside][kRowVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kRowsBeside; ++r) {
    load_sums<kOpens>(a.out + size_t{rows[r]} * kPanelWidth, sums[r]);
  }
  add_four_rows<kIso>(in, view, sums);
#pragma GCC unroll 4
  for (int r = 0; r < kRowsBeside; ++r) {
    store_sums<kCloses>(a, sums[r], a.out + size_t{rows[r]} * kPanelWidth, rows[r], 0);
  }
  for (int r = 0; r < kRowsBeside; ++r) finish_curve<kCloses>(a, rows[r]);
}

// The weights of the rows at hand.
template <class Weight>
struct Stream {
  const uint16_t* indices;
  const Weight* values;  // null: all are equal
  size_t weights;
};

// What comes after some rows of a rung: sums, some of the next block's slice, and the weights some
// rows on.
template <class Weight>
HWY_INLINE void fetch_ahead(const SpmmArgs& a, const Stream<Weight>& stream, const uint32_t* rows,
                            uint32_t count, SliceAhead& ahead) {
  constexpr size_t kWeightsAhead = 768, kLineBytes = 64;
  constexpr size_t kIndices = kLineBytes / sizeof(uint16_t), kWeights = kLineBytes / sizeof(Weight);
  for (uint32_t r = 0; r < count; ++r) fetch_sums(a, rows[kRungAhead + r]);
  ahead.fetch();
  for (size_t k = 0; k < stream.weights; k += kIndices) {
    hwy::Prefetch(stream.indices + kWeightsAhead + k);
  }
  for (size_t k = 0; stream.values != nullptr && k < stream.weights; k += kWeights) {
    hwy::Prefetch(stream.values + kWeightsAhead + k);
  }
}

// A part all of whose rows are in the range, four at a time.
template <bool kOpens, bool kCloses, bool kIso>
HWY_NOINLINE void run_fours(const SpmmArgs& a, const BlockPart& part, SliceAhead& ahead) {
  const float* in = a.in + part.first_input * kPanelWidth;
  const uint32_t* row = a.rung_rows + part.first_place;
  RungView view = first_view<kIso>(a, part);
  for (int64_t r = part.begin; r < part.end; ++r) {
    view.count = a.rungs[r].count;
    for (uint32_t left = a.rungs[r].rows; left > 0;) {
      const uint32_t rows = rows_at_once(a, left);
      const size_t weights = size_t{rows} * view.count;
      const Stream<float> stream = {view.indices, kIso ? nullptr : view.values, weights};
      fetch_ahead(a, stream, row, rows, ahead);
      if (rows > 1) {
        run_four_rows<kOpens, kCloses, kIso>(a, in, view, row);
      } else {
        run_row<kOpens, kCloses, kIso>(a, in, view, *row);
      }
      row += rows;
      left -= rows;
      view.indices += weights;
      view.values += kIso ? 0 : weights;
    }
  }
}

#endif  // ESPALIER_FOUR_ROWS

HWY_INLINE float number_of(float weight) { return weight; }
HWY_INLINE float number_of(uint16_t weight) { return bfloat16_to_float(weight); }

// Any rows, layout and target, weight by weight: where a range cuts through rows that stand side by
// side, or registers are too few for them. `values`: the part's, or one for all.
template <class Weight>
HWY_NOINLINE void run_singly(const SpmmArgs& a, const BlockPart& part, const Weight* values) {
  const Tag d;
  const float* in = a.in + part.first_input * kPanelWidth;
  const uint32_t* row = a.rung_rows + part.first_place;
  const uint16_t* indices = a.block_indices + part.first_weight;
  for (int64_t r = part.begin; r < part.end; ++r) {
    const size_t count = a.rungs[r].count;
    for (uint32_t left = a.rungs[r].rows; left > 0;) {
      const uint32_t rows = rows_at_once(a, left);
      for (uint32_t n = 0; n < rows; ++n) {
        if (row[n] < a.row_begin || row[n] >= a.row_end) continue;
        for (size_t column = 0; column < kPanelWidth; column += kRowColumns) {
          float* const out = a.out + size_t{row[n]} * kPanelWidth + column;
          Vector sums[kRowVectors];
          part.opens ? load_sums<true>(out, sums) : load_sums<false>(out, sums);
          for (size_t k = n; k < count * rows; k += rows) {
            const auto weight = hn::Set(d, number_of(values[a.iso ? 0 : k]));
            add_to_row(weight, input_of(in + column, indices[k]), sums);
          }
          part.closes ? store_sums<true>(a, sums, out, row[n], column)
                      : store_sums<false>(a, sums, out, row[n], column);
        }
        part.closes ? finish_curve<true>(a, row[n]) : finish_curve<false>(a, row[n]);
      }
      row += rows;
      left -= rows;
      indices += count * rows;
      values += a.iso ? 0 : count * rows;
    }
  }
}

template <bool kOpens, bool kCloses, bool kIso>
HWY_INLINE void run_rung_rows(const SpmmArgs& a, const BlockPart& part, SliceAhead& ahead) {
  if (a.rows_beside == 1) return run_rungs<kOpens, kCloses, kIso>(a, part, ahead);
#ifdef ESPALIER_FOUR_ROWS
  if (is_whole(a, part)) return run_fours<kOpens, kCloses, kIso>(a, part, ahead);
#endif
  run_singly(a, part, a.block_values + (kIso ? 0 : part.first_weight));
}

// run(opens, closes), as types whose `value` is known when compiling.
template <class Run>
HWY_INLINE void with_ends(const BlockPart& part, Run run) {
  constexpr std::true_type kYes;
  constexpr std::false_type kNo;
  if (part.opens) {
    part.closes ? run(kYes, kYes) : run(kYes, kNo);
  } else {
    part.closes ? run(kNo, kYes) : run(kNo, kNo);
  }
}

template <bool kIso>
HWY_INLINE void run_rung_part(const SpmmArgs& a, const BlockPart& part, SliceAhead& ahead) {
  with_ends(part, [&](auto opens, auto closes) HWY_ATTR {
    run_rung_rows<decltype(opens)::value, decltype(closes)::value, kIso>(a, part, ahead);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
