// Natural logarithm of rows of positive numbers.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace satn::frontend {

inline double natural_log(double x) { return std::log(x); }

// Within 1 ulp or so for normal positive x, the same on every machine, and without branches or tables, so that a loop
// over it becomes SIMD code. The mantissa is brought to [sqrt(1/2), sqrt(2)); the polynomial is that of Cephes' logf.
inline float natural_log(float x) {
  constexpr std::uint32_t kSqrtHalf = 0x3f3504f3;
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits -= kSqrtHalf;
  const float exponent = static_cast<float>(static_cast<std::int32_t>(bits) >> 23);
  bits = (bits & 0x007fffff) + kSqrtHalf;
  float mantissa;
  std::memcpy(&mantissa, &bits, sizeof mantissa);

  const float y = mantissa - 1.0F;
  const float square = y * y;
  float series = 7.0376836292e-2F;
  series = series * y - 1.1514610310e-1F;
  series = series * y + 1.1676998740e-1F;
  series = series * y - 1.2420140846e-1F;
  series = series * y + 1.4249322787e-1F;
  series = series * y - 1.6668057665e-1F;
  series = series * y + 2.0000714765e-1F;
  series = series * y - 2.4999993993e-1F;
  series = series * y + 3.3333331174e-1F;
  series = series * y * square;
  series = series + exponent * -2.12194440e-4F;  // ln 2, in two parts
  series = series - 0.5F * square;
  return (y + series) + exponent * 0.693359375F;
}

}  // namespace satn::frontend
