// From samples to log-Mel energies, for as many neighbouring frames as the lane holds.
#pragma once

#include <cstddef>

#include "../kernel.hpp"
#include "elementwise.hpp"
#include "fft.hpp"
#include "lane.hpp"
#include "log.hpp"

namespace satn::frontend::SATN_ISA {

template <class Lane>
class LaneKernel {
 public:
  using Traits = LaneTraits<Lane>;
  using Real = typename Traits::Real;

  static std::size_t scratch_bytes(const KernelTables<Real>& tables) {
    return (tables.window_length + 2 * tables.half + tables.half + 1 + tables.n_mels) * sizeof(Lane);
  }

  static void run(const KernelTables<Real>& tables, const Real* samples, Real* rows, void* scratch) {
    LaneKernel(tables, static_cast<Lane*>(scratch)).compute(samples, rows);
  }

 private:
  LaneKernel(const KernelTables<Real>& tables, Lane* scratch)
      : tables_(tables),
        samples_(scratch),
        real_(samples_ + tables.window_length),
        imag_(real_ + tables.half),
        power_(imag_ + tables.half),
        energies_(power_ + tables.half + 1) {}

  void compute(const Real* samples, Real* rows) const {
    gather(samples, tables_.hop_length, tables_.window_length, samples_);
    const Lane mean = tables_.remove_dc ? sum() * (Real(1) / static_cast<Real>(tables_.window_length)) : Traits::all(0);
    if (tables_.emphasise) {
      fill_emphasised(mean);
    } else {
      fill(mean);
    }
    RealFft<Lane>(tables_).power_spectrum(real_, imag_, power_);
    apply_filterbank();
    take_log();
    scatter(energies_, tables_.n_mels, rows, tables_.n_mels);
  }

  // Eight partial sums: quicker, and closer to the exact sum than one.
  Lane sum() const {
    constexpr std::size_t kParts = 8;
    Lane parts[kParts];
    for (std::size_t i = 0; i < kParts; ++i) {
      parts[i] = Traits::all(0);
    }
    std::size_t n = 0;
    for (; n + kParts <= tables_.window_length; n += kParts) {
      for (std::size_t i = 0; i < kParts; ++i) {
        parts[i] = parts[i] + samples_[n + i];
      }
    }
    for (; n < tables_.window_length; ++n) {
      parts[0] = parts[0] + samples_[n];
    }
    return ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]));
  }

  // Windowed samples, less their mean, to the FFT's input: even ones to `real`, odd ones to `imag`, zeros up to the
  // FFT's size.
  void fill(Lane mean) const {
    const std::size_t pairs = tables_.window_length / 2;
    const Lane* x = samples_;
    const Real* window = tables_.window;
    SATN_INDEPENDENT_TURNS
    for (std::size_t n = 0; n < pairs; ++n) {
      real_[n] = (x[2 * n] - mean) * window[2 * n];
      imag_[n] = (x[2 * n + 1] - mean) * window[2 * n + 1];
    }
    finish_fill(tables_.window_length % 2 != 0 ? x[2 * pairs] - mean : Traits::all(0));
  }

  // The same with pre-emphasis within the frame: x[n] - c x[n-1] as (x[n] - x[n-1]) + (1 - c) x[n-1]. At low
  // frequencies, where the two nearly cancel, the rounding of c would cost up to 33 times the precision. The mean
  // drops out of the first part.
  void fill_emphasised(Lane mean) const {
    const std::size_t pairs = tables_.window_length / 2;
    const Lane* x = samples_;
    const Real* window = tables_.window;
    real_[0] = (x[0] - mean) * tables_.emphasis_rest * window[0];
    imag_[0] = emphasised(x + 1, mean) * window[1];
    SATN_INDEPENDENT_TURNS
    for (std::size_t n = 1; n < pairs; ++n) {
      real_[n] = emphasised(x + 2 * n, mean) * window[2 * n];
      imag_[n] = emphasised(x + 2 * n + 1, mean) * window[2 * n + 1];
    }
    finish_fill(tables_.window_length % 2 != 0 ? emphasised(x + 2 * pairs, mean) : Traits::all(0));
  }

  Lane emphasised(const Lane* x, Lane mean) const {
    return multiply_add(x[-1] - mean, tables_.emphasis_rest, x[0] - x[-1]);
  }

  void finish_fill(Lane odd_sample) const {
    std::size_t used = tables_.window_length / 2;
    const Lane zero = Traits::all(0);
    if (tables_.window_length % 2 != 0) {
      real_[used] = odd_sample * tables_.window[tables_.window_length - 1];
      imag_[used] = zero;
      ++used;
    }
    for (; used < tables_.half; ++used) {
      real_[used] = zero;
      imag_[used] = zero;
    }
  }

  void apply_filterbank() const {
    for (std::size_t m = 0; m < tables_.n_mels; ++m) {
      const MelBand band = tables_.bands[m];
      const Lane* power = power_ + band.first_bin;
      const Real* weights = tables_.mel_weights + band.offset;
      Lane even = Traits::all(0);
      Lane odd = even;
      std::size_t i = 0;
      for (; i + 2 <= band.count; i += 2) {
        even = multiply_add(power[i], weights[i], even);
        odd = multiply_add(power[i + 1], weights[i + 1], odd);
      }
      if (i < band.count) {
        even = multiply_add(power[i], weights[i], even);
      }
      energies_[m] = even + odd;
    }
  }

  void take_log() const {
    SATN_INDEPENDENT_TURNS
    for (std::size_t m = 0; m < tables_.n_mels; ++m) {
      energies_[m] = Traits::at_least(Traits::replace_zero(energies_[m], tables_.zero_becomes), tables_.least);
    }
    if (!tables_.take_log) {
      return;
    }
    SATN_INDEPENDENT_TURNS
    for (std::size_t m = 0; m < tables_.n_mels; ++m) {
      energies_[m] = natural_log(energies_[m]) * tables_.log_factor;
    }
  }

  const KernelTables<Real>& tables_;
  Lane* samples_;
  Lane* real_;
  Lane* imag_;
  Lane* power_;
  Lane* energies_;
};

template <class Real>
Kernels<Real> kernels() {
  constexpr std::size_t kWidth = SATN_LANE_BYTES / sizeof(Real);
  using Group = LaneKernel<Pack<Real, kWidth>>;
  return {kWidth,
          &Group::run,
          &LaneKernel<Real>::run,
          &Group::scratch_bytes,
          &regress<Real>,
          SampleLoops<Real, float>::kernels(),
          SampleLoops<Real, double>::kernels(),
          SampleLoops<Real, std::int16_t>::kernels()};
}

}  // namespace satn::frontend::SATN_ISA
