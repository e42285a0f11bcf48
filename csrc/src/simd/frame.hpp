// The arithmetic of a frame, shared by the kernels for several frames and for one: what they compute is equal to the
// last bit because each step is written once.
#pragma once

#include <cstddef>

#include "../kernel.hpp"
#include "lane.hpp"
#include "log.hpp"

namespace satn::frontend::SATN_ISA {

// A frame's sum is that of sixteen partial sums: quicker, and closer to the exact sum than one.
constexpr std::size_t kPartialSums = 16;

template <class Lane>
void sum_partially(const typename LaneTraits<Lane>::Real* samples, std::size_t length,
                   typename LaneTraits<Lane>::Real (&parts)[kPartialSums]) {
  constexpr std::size_t kWidth = LaneTraits<Lane>::width;
  Lane sums[kPartialSums / kWidth];
  for (Lane& sum : sums) {
    sum = LaneTraits<Lane>::all(0);
  }
  std::size_t n = 0;
  for (; n + kPartialSums <= length; n += kPartialSums) {
    for (std::size_t i = 0; i < kPartialSums / kWidth; ++i) {
      sums[i] = sums[i] + load<Lane>(samples + n + i * kWidth);
    }
  }
  __builtin_memcpy(parts, sums, sizeof parts);
  for (std::size_t i = 0; n + i < length; ++i) {
    parts[i] = parts[i] + samples[n + i];
  }
}

template <class Lane>
Lane total(Lane (&parts)[kPartialSums]) {
  for (std::size_t width = kPartialSums / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) {
      parts[i] = parts[i] + parts[i + width];
    }
  }
  return parts[0];
}

template <class Lane>
Lane mean_of(Lane (&parts)[kPartialSums], std::size_t length) {
  using Real = typename LaneTraits<Lane>::Real;
  return total(parts) * (Real(1) / static_cast<Real>(length));
}

// Pre-emphasis within the frame: x[n] - c x[n-1] as (x[n] - x[n-1]) + (1 - c) x[n-1]. At low frequencies, where the
// two nearly cancel, the rounding of c would cost up to 33 times the precision. The mean drops out of the first part.
// The first sample stands before itself, which gives its (1 - c) x[0].
template <class Lane>
Lane emphasised(Lane before, Lane now, Lane mean, typename LaneTraits<Lane>::Real rest) {
  return multiply_add(before - mean, rest, now - before);
}

// A band's energy is that of kMelChains sums over every so manieth bin, which need not wait for each other.
template <class Lane>
Lane band_energy(Lane a, Lane b, Lane c, Lane d) {
  return (a + b) + (c + d);
}

template <class Lane>
Lane floored(Lane energy, const KernelTables<typename LaneTraits<Lane>::Real>& tables) {
  using Traits = LaneTraits<Lane>;
  return Traits::at_least(Traits::replace_zero(energy, tables.zero_becomes), tables.least);
}

template <class Lane>
Lane log_energy(Lane floored_energy, const KernelTables<typename LaneTraits<Lane>::Real>& tables) {
  return natural_log(floored_energy) * tables.log_factor;
}

}  // namespace satn::frontend::SATN_ISA
