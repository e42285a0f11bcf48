// From samples to log-Mel energies, for one frame: a lane has several of its numbers. For streams, where a frame must
// not wait for its neighbours; equal to FrameGroup to the last bit.
#pragma once

#include <cstddef>

#include "../kernel.hpp"
#include "fft.hpp"
#include "frame.hpp"
#include "lane.hpp"
#include "transpose.hpp"

namespace satn::frontend::SATN_ISA {

template <class Real, std::size_t kWidth>
class SingleFrame {
 public:
  // Whether frames of that size fill lanes of this width.
  static bool fits(const KernelTables<Real>& tables) {
    return SingleFft<Real, kWidth>::fits(tables.half) && tables.window_length > kWidth && tables.n_mels >= kMelChains;
  }

  static std::size_t scratch_bytes(const KernelTables<Real>& tables) {
    return (5 * tables.half + 1 + kMelChains + tables.n_mels + kWidth) * sizeof(Real);
  }

  static void run(const KernelTables<Real>& tables, const Real* samples, Real* row, void* scratch) {
    [[maybe_unused]] const FlushToZero flush_to_zero;
    SingleFrame(tables, static_cast<Real*>(scratch)).compute(samples, row);
  }

 private:
  using Lane = Pack<Real, kWidth>;
  using Traits = LaneTraits<Lane>;
  // The filterbank's lanes, which hold all of a band's chains, or half.
  static constexpr std::size_t kChainWidth = kNumbersIn16Bytes<Real>;
  using ChainLane = Pack<Real, kChainWidth>;

  SingleFrame(const KernelTables<Real>& tables, Real* scratch)
      : tables_(tables),
        windowed_(scratch),
        real_(windowed_ + 2 * tables.half),
        imag_(real_ + tables.half),
        power_(imag_ + tables.half),
        energies_(power_ + tables.half + 1 + kMelChains) {}

  void compute(const Real* samples, Real* row) const {
    window(samples, tables_.remove_dc ? mean(samples) : Real(0));
    separate_even_and_odd();
    // The windowed samples have been read: their place takes the ordered spectrum.
    SingleFft<Real, kWidth>(tables_).power_spectrum(real_, imag_, windowed_, windowed_ + tables_.half, power_);
    apply_filterbank();
    take_log();
    __builtin_memcpy(row, energies_, tables_.n_mels * sizeof(Real));
  }

  Real mean(const Real* samples) const {
    Real parts[kPartialSums];
    sum_partially<Lane>(samples, tables_.window_length, parts);
    return mean_of(parts, tables_.window_length);
  }

  void window(const Real* samples, Real mean) const {
    const std::size_t length = tables_.window_length;
    // The last lane overlaps the one before it, and computes some samples once more.
    for (std::size_t n = 1; n + kWidth <= length; n += kWidth) {
      window_lane(samples, n, mean);
    }
    window_lane(samples, length - kWidth, mean);
    const Real first =
        tables_.emphasise ? emphasised(samples[0], samples[0], mean, tables_.emphasis_rest) : samples[0] - mean;
    windowed_[0] = first * tables_.window[0];
    __builtin_memset(windowed_ + length, 0, (2 * tables_.half - length) * sizeof(Real));
  }

  void window_lane(const Real* samples, std::size_t n, Real mean_of_frame) const {
    const Lane mean = Traits::all(mean_of_frame);
    const Lane now = load<Lane>(samples + n);
    const Lane sample =
        tables_.emphasise ? emphasised(load<Lane>(samples + n - 1), now, mean, tables_.emphasis_rest) : now - mean;
    store(windowed_ + n, sample * load<Lane>(tables_.window + n));
  }

  void separate_even_and_odd() const {
    for (std::size_t n = 0; n < tables_.half; n += kWidth) {
      const Lane a = load<Lane>(windowed_ + 2 * n);
      const Lane b = load<Lane>(windowed_ + 2 * n + kWidth);
      store(real_ + n, shuffled<EverySecond<0>>(a, b));
      store(imag_ + n, shuffled<EverySecond<1>>(a, b));
    }
  }

  // Weights are padded with zeros to whole chains, and so is the spectrum.
  void apply_filterbank() const {
    for (std::size_t i = 1; i < kMelChains; ++i) {
      power_[tables_.half + i] = 0;
    }
    std::size_t m = 0;
    for (; m + kChainWidth <= tables_.n_mels; m += kChainWidth) {
      apply_filters(m);
    }
    if (m < tables_.n_mels) {  // the last ones once more, together with those that are left
      apply_filters(tables_.n_mels - kChainWidth);
    }
  }

  // As many bands as there are numbers in their lanes.
  void apply_filters(std::size_t first) const {
    constexpr std::size_t kLanes = kMelChains / kChainWidth;
    ChainLane chains[kLanes][kChainWidth];
    for (std::size_t m = 0; m < kChainWidth; ++m) {
      const MelBand band = tables_.bands[first + m];
      const Real* power = power_ + band.first_bin;
      const Real* weights = tables_.mel_weights + band.offset;
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        chains[lane][m] = LaneTraits<ChainLane>::all(0);
      }
      for (std::size_t i = 0; i < band.count; i += kMelChains) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
          chains[lane][m] = multiply_add(load<ChainLane>(power + i + lane * kChainWidth),
                                         load<ChainLane>(weights + i + lane * kChainWidth), chains[lane][m]);
        }
      }
    }
    for (ChainLane(&lane)[kChainWidth] : chains) {
      transpose_in_16_bytes(lane);
    }
    if constexpr (kLanes == 1) {
      store(energies_ + first, band_energy(chains[0][0], chains[0][1], chains[0][2], chains[0][3]));
    } else {
      store(energies_ + first, band_energy(chains[0][0], chains[0][1], chains[1][0], chains[1][1]));
    }
  }

  void take_log() const {
    // What the last lane holds beyond the bands is computed, and read by nobody.
    for (std::size_t m = 0; m < tables_.n_mels; m += kWidth) {
      Lane energy = floored(load<Lane>(energies_ + m), tables_);
      if (tables_.take_log) {
        energy = log_energy(energy, tables_);
      }
      store(energies_ + m, energy);
    }
  }

  const KernelTables<Real>& tables_;
  Real* windowed_;
  Real* real_;
  Real* imag_;
  Real* power_;
  Real* energies_;
};

}  // namespace satn::frontend::SATN_ISA
