// Natural logarithm of positive numbers, lane by lane.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>

#include "lane.hpp"

namespace satn::frontend::SATN_ISA {

// The bits of a float lane as whole numbers, and back.
template <class Lane>
struct FloatBits;

template <>
struct FloatBits<float> {
  using Bits = std::uint32_t;

  static Bits of(float x) {
    Bits bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
  }
  static float from(Bits bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
  }
  // The exponent field as a signed number.
  static float exponent(Bits bits) { return static_cast<float>(static_cast<std::int32_t>(bits) >> 23); }
};

template <std::size_t kWidth>
struct FloatBits<Pack<float, kWidth>> {
  using Lane = Pack<float, kWidth>;
  using Bits __attribute__((vector_size(kWidth * 4))) = std::uint32_t;
  using Signed __attribute__((vector_size(kWidth * 4))) = std::int32_t;

  static Bits of(Lane x) { return reinterpret_cast<Bits>(x.values); }
  static Lane from(Bits bits) { return {reinterpret_cast<typename Lane::Vector>(bits)}; }
  static Lane exponent(Bits bits) { return {converted<typename Lane::Vector>(reinterpret_cast<Signed>(bits) >> 23)}; }
};

// Within 1 ulp or so for normal positive x, and the same on every machine. The mantissa is brought to
// [sqrt(1/2), sqrt(2)); the polynomial is that of Cephes' logf.
template <class Lane>
Lane natural_log_of_floats(Lane x) {
  using Bits = FloatBits<Lane>;
  using Traits = LaneTraits<Lane>;
  constexpr std::uint32_t kSqrtHalf = 0x3f3504f3;
  const auto shifted = Bits::of(x) - kSqrtHalf;
  const Lane exponent = Bits::exponent(shifted);
  const Lane y = Bits::from((shifted & 0x007fffff) + kSqrtHalf) - Traits::all(1.0F);
  const Lane square = y * y;
  constexpr float kCoefficients[] = {-1.1514610310e-1F, 1.1676998740e-1F, -1.2420140846e-1F, 1.4249322787e-1F,
                                     -1.6668057665e-1F, 2.0000714765e-1F, -2.4999993993e-1F, 3.3333331174e-1F};
  Lane series = Traits::all(7.0376836292e-2F);
  for (const float coefficient : kCoefficients) {
    series = multiply_add(series, y, Traits::all(coefficient));
  }
  series = series * y * square;
  series = multiply_add(exponent, -2.12194440e-4F, series);  // ln 2, in two parts
  series = multiply_add(square, -0.5F, series);
  return multiply_add(exponent, 0.693359375F, y + series);
}

inline float natural_log(float x) { return natural_log_of_floats(x); }

inline double natural_log(double x) { return log(x); }

template <std::size_t kWidth>
Pack<float, kWidth> natural_log(Pack<float, kWidth> x) {
  return natural_log_of_floats(x);
}

template <std::size_t kWidth>
Pack<double, kWidth> natural_log(Pack<double, kWidth> x) {
  for (std::size_t i = 0; i < kWidth; ++i) {
    x.values[i] = log(x.values[i]);
  }
  return x;
}

}  // namespace satn::frontend::SATN_ISA
