// Loops over samples and over rows that the compiler turns into vector code for the instruction set at hand.
#pragma once

#include <cstddef>

#include "../kernel.hpp"
#include "lane.hpp"

namespace satn::frontend::SATN_ISA {

template <class Real, class Sample>
struct SampleLoops {
  static Real scaled(Sample sample, double scale) {
    if constexpr (sizeof(Sample) == sizeof(double)) {
      return static_cast<Real>(sample * scale);
    } else {
      return static_cast<Real>(sample) * static_cast<Real>(scale);
    }
  }

  static bool fit(const Sample* samples, std::size_t count, double scale, Real largest) {
    constexpr std::size_t kBlock = 1024;  // short enough to stop early, long enough to be vectorised
    for (std::size_t start = 0; start < count; start += kBlock) {
      const std::size_t stop = count - start < kBlock ? count : start + kBlock;
      int bad = 0;
      for (std::size_t i = start; i < stop; ++i) {
        const Real x = scaled(samples[i], scale);
        bad |= !(x <= largest && x >= -largest);  // NaN is neither
      }
      if (bad != 0) {
        return false;
      }
    }
    return true;
  }

  static void scale(const Sample* samples, std::size_t count, double factor, Real* to) {
    for (std::size_t i = 0; i < count; ++i) {
      to[i] = scaled(samples[i], factor);
    }
  }

  static SampleKernels<Real, Sample> kernels() { return {&scaled, &fit, &scale}; }
};

// out = sum over i of weights[i] * (after[i] - before[i]), element by element.
template <class Real>
void regress(const Real* const* after, const Real* const* before, const Real* weights, std::size_t reach,
             std::size_t count, Real* out) {
  if (reach == 2) {  // what everybody uses, in one pass
    const Real* a0 = after[0];
    const Real* a1 = after[1];
    const Real* b0 = before[0];
    const Real* b1 = before[1];
    for (std::size_t k = 0; k < count; ++k) {
      out[k] = multiply_add(weights[1], a1[k] - b1[k], weights[0] * (a0[k] - b0[k]));
    }
    return;
  }
  for (std::size_t k = 0; k < count; ++k) {
    Real sum = weights[0] * (after[0][k] - before[0][k]);
    for (std::size_t i = 1; i < reach; ++i) {
      sum = multiply_add(weights[i], after[i][k] - before[i][k], sum);
    }
    out[k] = sum;
  }
}

}  // namespace satn::frontend::SATN_ISA
