// A lane holds one number of each of several frames that are computed side by side.
//
// Everything between the samples and the log-Mel energies is written once, over a lane type: a plain float or double
// (one frame at a time) or a Pack (several). A lane type offers +, -, * and multiply_add with lanes and with scalars,
// element by element and without reordering, so that a frame's features depend neither on the frames computed beside
// it nor on the width. They depend on the instruction set only through multiply_add, which rounds once where the
// processor can and twice where not.
//
// The headers of this folder are compiled once per instruction set, each time into a namespace of its own (SATN_ISA)
// with lanes of SATN_LANE_BYTES. They use no inline function from elsewhere: the linker could keep the copy that was
// compiled for a processor that this one is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__FMA__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && !defined(__aarch64__)
#include <arm_neon.h>
#define SATN_NEON_OF_ARMV7
#endif

// Before a loop whose turns touch different numbers, which the compiler may not see: single frames are computed with
// plain floats, and such loops are where vector instructions help them.
#if defined(__clang__)
#define SATN_INDEPENDENT_TURNS _Pragma("clang loop vectorize(assume_safety)")
#else
#define SATN_INDEPENDENT_TURNS _Pragma("GCC ivdep")
#endif

#if !defined(SATN_ISA) || !defined(SATN_LANE_BYTES)
#error "include this from simd/kernels_*.cpp, which say for which instruction set"
#endif

namespace satn::frontend::SATN_ISA {

// ---- Vectors: what the compiler's own operators do, except where it would not take the vector unit ----

template <class Vector>
Vector sum_of(Vector a, Vector b) {
  return a + b;
}
template <class Vector>
Vector difference_of(Vector a, Vector b) {
  return a - b;
}
template <class Vector>
Vector product_of(Vector a, Vector b) {
  return a * b;
}
template <class Vector>
Vector larger_of(Vector a, Vector b) {
  return a < b ? b : a;
}
// b where a is zero.
template <class Vector>
Vector nonzero_or(Vector a, Vector b) {
  return a == Vector{} ? b : a;
}
template <class Vector, class Integers>
Vector converted(Integers integers) {
  return __builtin_convertvector(integers, Vector);
}

#if defined(SATN_NEON_OF_ARMV7)
// This unit has no numbers below the least normal one, which forbids it to the compiler. The kernels can do without
// them; FlushToZero below makes plain numbers behave alike.
using FourFloats __attribute__((vector_size(16))) = float;

inline FourFloats sum_of(FourFloats a, FourFloats b) { return reinterpret_cast<FourFloats>(vaddq_f32(a, b)); }
inline FourFloats difference_of(FourFloats a, FourFloats b) { return reinterpret_cast<FourFloats>(vsubq_f32(a, b)); }
inline FourFloats product_of(FourFloats a, FourFloats b) { return reinterpret_cast<FourFloats>(vmulq_f32(a, b)); }
inline FourFloats larger_of(FourFloats a, FourFloats b) { return reinterpret_cast<FourFloats>(vmaxq_f32(a, b)); }
inline FourFloats nonzero_or(FourFloats a, FourFloats b) {
  return reinterpret_cast<FourFloats>(vbslq_f32(vceqq_f32(a, vdupq_n_f32(0.0F)), b, a));
}
template <>
inline FourFloats converted<FourFloats>(int32x4_t integers) {
  return reinterpret_cast<FourFloats>(vcvtq_f32_s32(integers));
}
#endif

// As long as it lives, plain numbers below the least normal one are zeros where those in lanes are.
class FlushToZero {
 public:
#if defined(SATN_NEON_OF_ARMV7)
  FlushToZero() : before_(__builtin_arm_get_fpscr()) { __builtin_arm_set_fpscr(before_ | 1U << 24); }
  ~FlushToZero() { __builtin_arm_set_fpscr(before_); }

 private:
  unsigned before_;

 public:
#else
  FlushToZero() = default;
  ~FlushToZero() = default;
#endif
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero(FlushToZero&&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;
  FlushToZero& operator=(FlushToZero&&) = delete;
};

template <class Real, std::size_t kWidth>
struct Pack {
  using Vector __attribute__((vector_size(kWidth * sizeof(Real)))) = Real;
  Vector values;

  friend Pack operator+(Pack a, Pack b) { return {sum_of(a.values, b.values)}; }
  friend Pack operator-(Pack a, Pack b) { return {difference_of(a.values, b.values)}; }
  friend Pack operator*(Pack a, Pack b) { return {product_of(a.values, b.values)}; }
  friend Pack operator*(Pack a, Real b) { return a * all(b); }

  static Pack all(Real value) { return all(value, std::make_index_sequence<kWidth>()); }

 private:
  template <std::size_t... kIndex>
  static Pack all(Real value, std::index_sequence<kIndex...>) {
    return {Vector{(static_cast<void>(kIndex), value)...}};
  }
};

// a * b + c and a * b - c, rounded once where SATN_LANES_FUSE, for every lane type alike.
#if SATN_LANE_BYTES > 16 && defined(__FMA__)
#define SATN_LANES_FUSE
#endif

template <class Real>
Real multiply_add(Real a, Real b, Real c) {
#if !defined(SATN_LANES_FUSE)
  return a * b + c;
#else
  if constexpr (sizeof(Real) == sizeof(float)) {
    return __builtin_fmaf(a, b, c);
  } else {
    return __builtin_fma(a, b, c);
  }
#endif
}

template <class Real>
Real multiply_subtract(Real a, Real b, Real c) {
  return multiply_add(a, b, -c);
}

template <class Real, std::size_t kWidth>
Pack<Real, kWidth> multiply_add(Pack<Real, kWidth> a, Pack<Real, kWidth> b, Pack<Real, kWidth> c) {
#if !defined(SATN_LANES_FUSE)
  return a * b + c;
#else
  constexpr bool kFloats = sizeof(Real) == sizeof(float);
  if constexpr (sizeof a.values == 16) {
    if constexpr (kFloats) {
      return {_mm_fmadd_ps(a.values, b.values, c.values)};
    } else {
      return {_mm_fmadd_pd(a.values, b.values, c.values)};
    }
  } else if constexpr (sizeof a.values == 32) {
    if constexpr (kFloats) {
      return {_mm256_fmadd_ps(a.values, b.values, c.values)};
    } else {
      return {_mm256_fmadd_pd(a.values, b.values, c.values)};
    }
#if SATN_LANE_BYTES == 64
  } else if constexpr (kFloats) {
    return {_mm512_fmadd_ps(a.values, b.values, c.values)};
  } else {
    return {_mm512_fmadd_pd(a.values, b.values, c.values)};
#endif
  }
#endif
}

template <class Real, std::size_t kWidth>
Pack<Real, kWidth> multiply_subtract(Pack<Real, kWidth> a, Pack<Real, kWidth> b, Pack<Real, kWidth> c) {
  return multiply_add(a, b, Pack<Real, kWidth>{-c.values});
}

// With a scalar factor.
template <class Real, std::size_t kWidth>
Pack<Real, kWidth> multiply_add(Pack<Real, kWidth> a, Real b, Pack<Real, kWidth> c) {
  return multiply_add(a, Pack<Real, kWidth>::all(b), c);
}

template <class Real, std::size_t kWidth>
Pack<Real, kWidth> multiply_subtract(Pack<Real, kWidth> a, Real b, Pack<Real, kWidth> c) {
  return multiply_subtract(a, Pack<Real, kWidth>::all(b), c);
}

template <class Lane>
struct LaneTraits {
  using Real = Lane;
  static constexpr std::size_t width = 1;

  static Lane all(Real value) { return value; }
  static Lane at_least(Lane a, Real b) { return a < b ? b : a; }
  static Lane replace_zero(Lane a, Real b) { return a == Real(0) ? b : a; }
};

template <class RealType, std::size_t kWidth>
struct LaneTraits<Pack<RealType, kWidth>> {
  using Real = RealType;
  using Lane = Pack<RealType, kWidth>;
  static constexpr std::size_t width = kWidth;

  static Lane all(Real value) { return Lane::all(value); }
  static Lane at_least(Lane a, Real b) { return {larger_of(a.values, all(b).values)}; }
  static Lane replace_zero(Lane a, Real b) { return {nonzero_or(a.values, all(b).values)}; }
};

// ---- Between memory and lanes ----

// A lane of consecutive numbers, wherever they stand.
template <class Lane>
Lane load(const typename LaneTraits<Lane>::Real* from) {
  Lane lane;
  __builtin_memcpy(&lane, from, sizeof lane);
  return lane;
}

template <class Lane>
void store(typename LaneTraits<Lane>::Real* to, Lane lane) {
  __builtin_memcpy(to, &lane, sizeof lane);
}

// Numbers of a (counted from 0) and of b (counted from its width), in the order of the indices.
template <std::size_t... kIndex, class Real, std::size_t kWidth>
Pack<Real, kWidth> shuffled(Pack<Real, kWidth> a, Pack<Real, kWidth> b, std::index_sequence<kIndex...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return {__builtin_shufflevector(a.values, b.values, kIndex...)};
#else
  using Integer = std::conditional_t<sizeof(Real) == 4, std::int32_t, std::int64_t>;
  using Mask __attribute__((vector_size(kWidth * sizeof(Real)))) = Integer;
  return {__builtin_shuffle(a.values, b.values, Mask{static_cast<Integer>(kIndex)...})};
#endif
}

template <std::size_t kWidth, class Function, std::size_t... kIndex>
constexpr auto mapped(Function, std::index_sequence<kIndex...>) {
  return std::index_sequence<Function::of(kIndex, kWidth)...>();
}

template <class Function, class Real, std::size_t kWidth>
Pack<Real, kWidth> shuffled(Pack<Real, kWidth> a, Pack<Real, kWidth> b) {
  return shuffled(a, b, decltype(mapped<kWidth>(Function(), std::make_index_sequence<kWidth>()))());
}

struct Reversed {
  static constexpr std::size_t of(std::size_t i, std::size_t width) { return width - 1 - i; }
};
template <std::size_t kFirst>
struct EverySecond {
  static constexpr std::size_t of(std::size_t i, std::size_t) { return kFirst + 2 * i; }
};
template <class Real, std::size_t kWidth>
Pack<Real, kWidth> reversed(Pack<Real, kWidth> a) {
  return shuffled<Reversed>(a, a);
}

// a's numbers, then b's.
template <class Real, std::size_t kWidth, std::size_t... kIndex>
Pack<Real, 2 * kWidth> joined(Pack<Real, kWidth> a, Pack<Real, kWidth> b, std::index_sequence<kIndex...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return {__builtin_shufflevector(a.values, b.values, kIndex...)};
#else
  return {typename Pack<Real, 2 * kWidth>::Vector{(kIndex < kWidth ? a : b).values[kIndex % kWidth]...}};
#endif
}

template <class Real, std::size_t kWidth>
Pack<Real, 2 * kWidth> joined(Pack<Real, kWidth> a, Pack<Real, kWidth> b) {
  return joined(a, b, std::make_index_sequence<2 * kWidth>());
}

}  // namespace satn::frontend::SATN_ISA
