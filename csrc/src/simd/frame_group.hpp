// From samples to log-Mel energies, for as many neighbouring frames as the lane holds: a lane has one number of each.
#pragma once

#include <cstddef>

#include "../kernel.hpp"
#include "fft.hpp"
#include "frame.hpp"
#include "lane.hpp"

namespace satn::frontend::SATN_ISA {

template <class Lane>
class FrameGroup {
 public:
  using Traits = LaneTraits<Lane>;
  using Real = typename Traits::Real;

  static std::size_t scratch_bytes(const KernelTables<Real>& tables) {
    return (tables.window_length + 2 * tables.half + tables.half + 1 + tables.n_mels) * sizeof(Lane);
  }

  static void run(const KernelTables<Real>& tables, const Real* samples, std::size_t n_frames, Real* rows,
                  std::size_t stride, void* scratch) {
    const FlushToZero flush_to_zero;
    FrameGroup(tables, static_cast<Lane*>(scratch)).compute(samples, n_frames, rows, stride);
  }

 private:
  FrameGroup(const KernelTables<Real>& tables, Lane* scratch)
      : tables_(tables),
        samples_(scratch),
        real_(samples_ + tables.window_length),
        imag_(real_ + tables.half),
        power_(imag_ + tables.half),
        energies_(power_ + tables.half + 1) {}

  void compute(const Real* samples, std::size_t n_frames, Real* rows, std::size_t stride) const {
    gather(samples, tables_.hop_length, tables_.window_length, samples_);
    fill(tables_.remove_dc ? mean() : Traits::all(0));
    GroupFft<Lane>(tables_).power_spectrum(real_, imag_, power_);
    apply_filterbank();
    take_log();
    scatter(energies_, tables_.n_mels, rows, stride, n_frames);
  }

  Lane mean() const {
    Lane parts[kPartialSums];
    for (std::size_t i = 0; i < kPartialSums; ++i) {
      parts[i] = Traits::all(0);
    }
    std::size_t n = 0;
    for (; n + kPartialSums <= tables_.window_length; n += kPartialSums) {
      for (std::size_t i = 0; i < kPartialSums; ++i) {
        parts[i] = parts[i] + samples_[n + i];
      }
    }
    for (std::size_t i = 0; n + i < tables_.window_length; ++i) {
      parts[i] = parts[i] + samples_[n + i];
    }
    return total(parts) * (Real(1) / static_cast<Real>(tables_.window_length));
  }

  // Windowed samples to the FFT's input: even ones to `real`, odd ones to `imag`, zeros up to the FFT's size.
  void fill(Lane mean) const {
    const Real* window = tables_.window;
    const std::size_t pairs = tables_.window_length / 2;
    if (tables_.emphasise) {
      fill_emphasised(mean, pairs);
    } else {
      SATN_INDEPENDENT_TURNS
      for (std::size_t n = 0; n < pairs; ++n) {
        real_[n] = (samples_[2 * n] - mean) * window[2 * n];
        imag_[n] = (samples_[2 * n + 1] - mean) * window[2 * n + 1];
      }
    }
    std::size_t used = pairs;
    if (tables_.window_length % 2 != 0) {
      const Lane last = tables_.emphasise ? emphasised_sample(2 * pairs, mean) : samples_[2 * pairs] - mean;
      real_[used] = last * window[2 * pairs];
      imag_[used] = Traits::all(0);
      ++used;
    }
    for (; used < tables_.half; ++used) {
      real_[used] = Traits::all(0);
      imag_[used] = Traits::all(0);
    }
  }

  void fill_emphasised(Lane mean, std::size_t pairs) const {
    const Real* window = tables_.window;
    real_[0] = (samples_[0] - mean) * tables_.emphasis_rest * window[0];
    imag_[0] = emphasised_sample(1, mean) * window[1];
    SATN_INDEPENDENT_TURNS
    for (std::size_t n = 1; n < pairs; ++n) {
      real_[n] = emphasised_sample(2 * n, mean) * window[2 * n];
      imag_[n] = emphasised_sample(2 * n + 1, mean) * window[2 * n + 1];
    }
  }

  Lane emphasised_sample(std::size_t n, Lane mean) const {
    return emphasised(samples_[n - 1], samples_[n], mean, tables_.emphasis_rest);
  }

  void apply_filterbank() const {
    for (std::size_t m = 0; m < tables_.n_mels; ++m) {
      const MelBand band = tables_.bands[m];
      const Lane* power = power_ + band.first_bin;
      const Real* weights = tables_.mel_weights + band.offset;
      Lane chains[kMelChains] = {Traits::all(0), Traits::all(0), Traits::all(0), Traits::all(0)};
      std::size_t i = 0;
      for (; i + kMelChains <= band.count; i += kMelChains) {
        for (std::size_t chain = 0; chain < kMelChains; ++chain) {
          chains[chain] = multiply_add(power[i + chain], weights[i + chain], chains[chain]);
        }
      }
      for (std::size_t chain = 0; i + chain < band.count; ++chain) {
        chains[chain] = multiply_add(power[i + chain], weights[i + chain], chains[chain]);
      }
      energies_[m] = band_energy(chains[0], chains[1], chains[2], chains[3]);
    }
  }

  void take_log() const {
    SATN_INDEPENDENT_TURNS
    for (std::size_t m = 0; m < tables_.n_mels; ++m) {
      energies_[m] = floored(energies_[m], tables_);
    }
    if (!tables_.take_log) {
      return;
    }
    SATN_INDEPENDENT_TURNS
    for (std::size_t m = 0; m < tables_.n_mels; ++m) {
      energies_[m] = log_energy(energies_[m], tables_);
    }
  }

  const KernelTables<Real>& tables_;
  Lane* samples_;
  Lane* real_;
  Lane* imag_;
  Lane* power_;
  Lane* energies_;
};

}  // namespace satn::frontend::SATN_ISA
