// From samples to log-Mel energies, for as many neighbouring frames as the lane holds: a lane has one number of each.
#pragma once

#include <cstddef>

#include "../kernel.hpp"
#include "fft.hpp"
#include "frame.hpp"
#include "lane.hpp"
#include "transpose.hpp"

namespace satn::frontend::SATN_ISA {

template <class Lane>
class FrameGroup {
 public:
  using Traits = LaneTraits<Lane>;
  using Real = typename Traits::Real;

  static std::size_t scratch_bytes(const KernelTables<Real>& tables) {
    return (2 * tables.half + tables.half + 1 + tables.n_mels) * sizeof(Lane);
  }

  static void run(const KernelTables<Real>& tables, const Real* samples, std::size_t n_frames, Real* rows,
                  std::size_t stride, void* scratch) {
    [[maybe_unused]] const FlushToZero flush_to_zero;
    FrameGroup(tables, static_cast<Lane*>(scratch)).compute(samples, n_frames, rows, stride);
  }

 private:
  static constexpr std::size_t kWidth = Traits::width;
  static constexpr std::size_t kBlock = kWidth > 1 ? kWidth : 2;  // samples gathered at once, an even number

  FrameGroup(const KernelTables<Real>& tables, Lane* scratch)
      : tables_(tables),
        real_(scratch),
        imag_(real_ + tables.half),
        power_(imag_ + tables.half),
        energies_(power_ + tables.half + 1) {}

  void compute(const Real* samples, std::size_t n_frames, Real* rows, std::size_t stride) const {
    fill(samples, tables_.remove_dc ? mean(samples) : Traits::all(0));
    GroupFft<Lane>(tables_).power_spectrum(real_, imag_, power_);
    apply_filterbank();
    take_log();
    scatter(energies_, tables_.n_mels, [rows, stride](std::size_t frame) { return rows + frame * stride; }, n_frames);
  }

  Lane mean(const Real* samples) const {
    Real of_frames[kWidth][kPartialSums];
    for (std::size_t frame = 0; frame < kWidth; ++frame) {
      sum_partially<Lane>(samples + frame * tables_.hop_length, tables_.window_length, of_frames[frame]);
    }
    Lane parts[kPartialSums];
    for (std::size_t n = 0; n < kPartialSums; n += kWidth) {
      Lane block[kWidth];
      gather([&of_frames, n](std::size_t frame) { return of_frames[frame] + n; }, block);
      for (std::size_t i = 0; i < kWidth; ++i) {
        parts[n + i] = block[i];
      }
    }
    return mean_of(parts, tables_.window_length);
  }

  // Windowed samples to the FFT's input: even ones to `real`, odd ones to `imag`, zeros up to the FFT's size.
  void fill(const Real* samples, Lane mean) const {
    if (tables_.emphasise) {
      fill_windowed(samples, [this, mean](Lane before, Lane now) {
        return emphasised(before, now, mean, tables_.emphasis_rest);
      });
    } else {
      fill_windowed(samples, [mean](Lane /*before*/, Lane now) { return now - mean; });
    }
    for (std::size_t n = tables_.window_length; n < 2 * tables_.half; ++n) {
      input(n) = Traits::all(0);
    }
  }

  template <class Filter>
  void fill_windowed(const Real* samples, Filter&& filter) const {
    const std::size_t hop = tables_.hop_length;
    Lane block[kBlock];
    Lane before = one_of_each(samples);
    std::size_t n = 0;
    for (; n + kBlock <= tables_.window_length; n += kBlock) {
      gather([samples, hop, n](std::size_t frame) { return samples + frame * hop + n; }, block);
      for (std::size_t i = 0; i < kBlock; i += 2) {
        input(n + i) = filter(before, block[i]) * tables_.window[n + i];
        input(n + i + 1) = filter(block[i], block[i + 1]) * tables_.window[n + i + 1];
        before = block[i + 1];
      }
    }
    for (; n < tables_.window_length; ++n) {
      const Lane now = one_of_each(samples + n);
      input(n) = filter(before, now) * tables_.window[n];
      before = now;
    }
  }

  // Where the FFT takes sample n from.
  Lane& input(std::size_t n) const { return n % 2 == 0 ? real_[n / 2] : imag_[n / 2]; }

  Lane one_of_each(const Real* sample) const {
    Real numbers[kWidth];
    for (std::size_t frame = 0; frame < kWidth; ++frame) {
      numbers[frame] = sample[frame * tables_.hop_length];
    }
    return load<Lane>(numbers);
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
  Lane* real_;
  Lane* imag_;
  Lane* power_;
  Lane* energies_;
};

}  // namespace satn::frontend::SATN_ISA
