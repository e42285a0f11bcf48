// From samples to log-Mel energies, for as many neighbouring frames as the lane holds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "fft.hpp"
#include "lane.hpp"
#include "log.hpp"
#include "plan.hpp"
#include "workspace.hpp"

namespace satn::frontend {

template <class Lane>
class FrameKernel {
 public:
  using Traits = LaneTraits<Lane>;
  using Real = typename Traits::Real;
  static constexpr std::size_t width = Traits::width;

  explicit FrameKernel(const Plan<Real>& plan) : plan_(plan), scratch_(plan) {}

  // Frame i starts at samples[i * hop]; its n_mels energies go to rows[i * n_mels].
  void compute(const Real* samples, Real* rows) {
    gather(samples);
    condition();
    RealFft<Lane>(plan_.fft()).power_spectrum(scratch_.real.data(), scratch_.imag.data(), scratch_.power.data());
    apply_filterbank(rows);
    take_log(rows);
  }

 private:
  void gather(const Real* samples) {
    const std::size_t hop = plan_.hop_length();
    Lane* to = scratch_.samples.data();
    for (std::size_t n = 0; n < plan_.window_length(); ++n) {
      to[n] = Traits::gather(samples + n, hop);
    }
  }

  // DC removal, pre-emphasis and window, in Kaldi's order; then even samples to `real`, odd ones to `imag`.
  void condition() {
    const std::size_t length = plan_.window_length();
    Lane* x = scratch_.samples.data();
    if (plan_.options().remove_dc) {
      const Lane mean = sum(x, length) * (Real(1) / static_cast<Real>(length));
      for (std::size_t n = 0; n < length; ++n) {
        x[n] = x[n] - mean;
      }
    }
    const Real* window = plan_.window();
    Lane* real = scratch_.real.data();
    Lane* imag = scratch_.imag.data();
    std::size_t used = length / 2;
    if (plan_.options().preemphasis_mode == PreemphasisMode::frame && plan_.options().preemphasis > 0.0) {
      // x[n] - c x[n-1] as (x[n] - x[n-1]) + (1 - c) x[n-1]: at low frequencies, where the two nearly cancel, the
      // rounding of c would cost up to 33 times the precision.
      const Real rest = static_cast<Real>(1.0 - plan_.options().preemphasis);
      real[0] = x[0] * rest * window[0];
      imag[0] = ((x[1] - x[0]) + x[0] * rest) * window[1];
      for (std::size_t n = 1; n < used; ++n) {
        real[n] = ((x[2 * n] - x[2 * n - 1]) + x[2 * n - 1] * rest) * window[2 * n];
        imag[n] = ((x[2 * n + 1] - x[2 * n]) + x[2 * n] * rest) * window[2 * n + 1];
      }
      if (length % 2 != 0) {
        const Lane last = (x[length - 1] - x[length - 2]) + x[length - 2] * rest;
        real[used] = last * window[length - 1];
        imag[used] = Traits::zero();
        ++used;
      }
    } else {
      for (std::size_t n = 0; n < used; ++n) {
        real[n] = x[2 * n] * window[2 * n];
        imag[n] = x[2 * n + 1] * window[2 * n + 1];
      }
      if (length % 2 != 0) {
        real[used] = x[length - 1] * window[length - 1];
        imag[used] = Traits::zero();
        ++used;
      }
    }
    std::fill(real + used, real + plan_.fft().half(), Traits::zero());
    std::fill(imag + used, imag + plan_.fft().half(), Traits::zero());
  }

  // Four partial sums: quicker, and closer to the exact sum than one.
  static Lane sum(const Lane* x, std::size_t length) {
    Lane s0 = Traits::zero();
    Lane s1 = Traits::zero();
    Lane s2 = Traits::zero();
    Lane s3 = Traits::zero();
    std::size_t n = 0;
    for (; n + 4 <= length; n += 4) {
      s0 = s0 + x[n];
      s1 = s1 + x[n + 1];
      s2 = s2 + x[n + 2];
      s3 = s3 + x[n + 3];
    }
    for (; n < length; ++n) {
      s0 = s0 + x[n];
    }
    return (s0 + s1) + (s2 + s3);
  }

  void apply_filterbank(Real* rows) const {
    const Lane* power = scratch_.power.data();
    const std::size_t n_mels = plan_.n_mels();
    for (std::size_t m = 0; m < n_mels; ++m) {
      const MelBand band = plan_.bands()[m];
      const Real* weights = plan_.mel_weights() + band.offset;
      Lane energy = Traits::zero();
      for (std::size_t i = 0; i < band.count; ++i) {
        energy = energy + power[band.first_bin + i] * weights[i];
      }
      for (std::size_t frame = 0; frame < width; ++frame) {
        rows[frame * n_mels + m] = Traits::get(energy, frame);
      }
    }
  }

  void take_log(Real* rows) const {
    const Options& options = plan_.options();
    const std::size_t count = width * plan_.n_mels();
    const Real floor = static_cast<Real>(options.floor);
    // The logarithm wants normal numbers; only an exact zero meets the floor in the `zero` mode.
    const Real least = options.floor_mode == FloorMode::clamp ? floor : std::numeric_limits<Real>::min();
    if (options.floor_mode == FloorMode::zero) {
      for (std::size_t i = 0; i < count; ++i) {
        rows[i] = rows[i] == Real(0) ? floor : rows[i];
      }
    }
    if (options.log == Log::none) {
      if (options.floor_mode == FloorMode::clamp) {
        for (std::size_t i = 0; i < count; ++i) {
          rows[i] = std::max(rows[i], least);
        }
      }
      return;
    }
    constexpr double kInverseLn10 = 0.43429448190325182765;
    const Real factor = static_cast<Real>(
        options.log == Log::ln ? 1.0 : (options.log == Log::log10 ? kInverseLn10 : 10.0 * kInverseLn10));
    for (std::size_t i = 0; i < count; ++i) {
      rows[i] = natural_log(std::max(rows[i], least)) * factor;
    }
  }

  const Plan<Real>& plan_;
  LaneWorkspace<Lane> scratch_;
};

}  // namespace satn::frontend
