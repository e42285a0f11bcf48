// Power spectrum of real input by a power-of-two FFT.
//
// 2M real samples are taken as M complex ones (even samples real, odd imaginary); an in-place decimation-in-frequency
// FFT of radix 4 (one radix-2 stage first where log2(M) is odd) leaves their spectrum in digit-reversed order; the
// last step reads it through a table, separates the two halves and squares. No reordering pass, no second buffer.
#pragma once

#include <cstddef>

#include "../kernel.hpp"
#include "lane.hpp"

namespace satn::frontend::SATN_ISA {

template <class Lane>
class RealFft {
 public:
  using Real = typename LaneTraits<Lane>::Real;

  explicit RealFft(const KernelTables<Real>& tables) : tables_(tables) {}

  // `real` and `imag` hold the even and the odd samples, half each, and are overwritten. Writes FOUR TIMES the
  // squared magnitude of bins 0..half to `power`: the caller has a factor to apply anyway.
  void power_spectrum(Lane* real, Lane* imag, Lane* power) const {
    transform(real, imag);
    split(real, imag, power);
  }

 private:
  void transform(Lane* real, Lane* imag) const {
    const std::size_t half = tables_.half;
    const Real* twiddles = tables_.twiddles;
    std::size_t block = half;
    if (tables_.half_is_odd_power) {
      radix2_stage(real, imag, block / 2, twiddles);
      twiddles += block;
      block /= 2;
    }
    for (; block > 4; block /= 4) {
      for (std::size_t base = 0; base < half; base += block) {
        radix4_block(real + base, imag + base, block / 4, twiddles);
      }
      twiddles += block / 4 * 6;
    }
    for (std::size_t base = 0; base < half; base += 4) {
      last_radix4(real + base, imag + base);
    }
  }

  static void radix2_stage(Lane* real, Lane* imag, std::size_t quarter, const Real* twiddles) {
    const Real* cosine = twiddles;
    const Real* sine = twiddles + quarter;
    SATN_INDEPENDENT_TURNS
    for (std::size_t j = 0; j < quarter; ++j) {
      const Lane sum_r = real[j] + real[j + quarter];
      const Lane sum_i = imag[j] + imag[j + quarter];
      const Lane difference_r = real[j] - real[j + quarter];
      const Lane difference_i = imag[j] - imag[j + quarter];
      real[j] = sum_r;
      imag[j] = sum_i;
      real[j + quarter] = multiply_subtract(difference_r, cosine[j], difference_i * sine[j]);
      imag[j + quarter] = multiply_add(difference_r, sine[j], difference_i * cosine[j]);
    }
  }

  // One butterfly's four outputs before the twiddles.
  struct Butterfly {
    Lane r0, i0, r1, i1, r2, i2, r3, i3;

    Butterfly(const Lane* real, const Lane* imag, std::size_t quarter) {
      const Lane ar = real[0] + real[2 * quarter];
      const Lane ai = imag[0] + imag[2 * quarter];
      const Lane br = real[0] - real[2 * quarter];
      const Lane bi = imag[0] - imag[2 * quarter];
      const Lane cr = real[quarter] + real[3 * quarter];
      const Lane ci = imag[quarter] + imag[3 * quarter];
      const Lane dr = real[quarter] - real[3 * quarter];
      const Lane di = imag[quarter] - imag[3 * quarter];
      r0 = ar + cr;
      i0 = ai + ci;
      r1 = br + di;  // b - i d
      i1 = bi - dr;
      r2 = ar - cr;
      i2 = ai - ci;
      r3 = br - di;  // b + i d
      i3 = bi + dr;
    }
  };

  static void radix4_block(Lane* real, Lane* imag, std::size_t quarter, const Real* twiddles) {
    const Real* c1 = twiddles;
    const Real* s1 = c1 + quarter;
    const Real* c2 = s1 + quarter;
    const Real* s2 = c2 + quarter;
    const Real* c3 = s2 + quarter;
    const Real* s3 = c3 + quarter;
    SATN_INDEPENDENT_TURNS
    for (std::size_t j = 0; j < quarter; ++j) {
      const Butterfly x(real + j, imag + j, quarter);
      real[j] = x.r0;
      imag[j] = x.i0;
      real[j + quarter] = multiply_subtract(x.r1, c1[j], x.i1 * s1[j]);
      imag[j + quarter] = multiply_add(x.r1, s1[j], x.i1 * c1[j]);
      real[j + 2 * quarter] = multiply_subtract(x.r2, c2[j], x.i2 * s2[j]);
      imag[j + 2 * quarter] = multiply_add(x.r2, s2[j], x.i2 * c2[j]);
      real[j + 3 * quarter] = multiply_subtract(x.r3, c3[j], x.i3 * s3[j]);
      imag[j + 3 * quarter] = multiply_add(x.r3, s3[j], x.i3 * c3[j]);
    }
  }

  static void last_radix4(Lane* real, Lane* imag) {
    const Butterfly x(real, imag, 1);
    real[0] = x.r0;
    imag[0] = x.i0;
    real[1] = x.r1;
    imag[1] = x.i1;
    real[2] = x.r2;
    imag[2] = x.i2;
    real[3] = x.r3;
    imag[3] = x.i3;
  }

  void split(const Lane* real, const Lane* imag, Lane* power) const {
    const std::size_t half = tables_.half;
    const Lane sum = real[0] + imag[0];
    const Lane difference = real[0] - imag[0];
    power[0] = sum * sum * Real(4);
    power[half] = difference * difference * Real(4);
    for (std::size_t k = 1; k <= half / 2; ++k) {
      const std::size_t a = tables_.positions[k];
      const std::size_t b = tables_.positions[half - k];
      const Lane even_r = real[a] + real[b];
      const Lane even_i = imag[a] - imag[b];
      const Lane odd_r = imag[a] + imag[b];
      const Lane odd_i = real[b] - real[a];
      const Lane turned_r = multiply_subtract(odd_r, tables_.split_real[k], odd_i * tables_.split_imag[k]);
      const Lane turned_i = multiply_add(odd_r, tables_.split_imag[k], odd_i * tables_.split_real[k]);
      const Lane low_r = even_r + turned_r;
      const Lane low_i = even_i + turned_i;
      const Lane high_r = even_r - turned_r;
      const Lane high_i = even_i - turned_i;
      power[k] = multiply_add(low_r, low_r, low_i * low_i);
      power[half - k] = multiply_add(high_r, high_r, high_i * high_i);
    }
  }

  const KernelTables<Real>& tables_;
};

}  // namespace satn::frontend::SATN_ISA
