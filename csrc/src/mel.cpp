#include "mel.hpp"

#include <algorithm>
#include <cmath>

namespace satn::frontend {
namespace {

// Slaney's Auditory Toolbox: linear up to 1 kHz, logarithmic above.
constexpr double kSlaneyHzPerMel = 200.0 / 3.0;
constexpr double kSlaneyBreakHz = 1000.0;
constexpr double kSlaneyBreakMel = kSlaneyBreakHz / kSlaneyHzPerMel;
const double kSlaneyLogStep = std::log(6.4) / 27.0;

double hz_to_mel(double hz, MelScale scale) {
  if (scale == MelScale::htk) {
    return 2595.0 * std::log10(1.0 + hz / 700.0);
  }
  return hz < kSlaneyBreakHz ? hz / kSlaneyHzPerMel : kSlaneyBreakMel + std::log(hz / kSlaneyBreakHz) / kSlaneyLogStep;
}

double mel_to_hz(double mel, MelScale scale) {
  if (scale == MelScale::htk) {
    return 700.0 * (std::pow(10.0, mel / 2595.0) - 1.0);
  }
  return mel < kSlaneyBreakMel ? mel * kSlaneyHzPerMel
                               : kSlaneyBreakHz * std::exp(kSlaneyLogStep * (mel - kSlaneyBreakMel));
}

// The triangle's value at `x`, between the feet `left` and `right`, with its peak at `center`.
double triangle(double x, double left, double center, double right) {
  if (!(x > left && x < right)) {
    return 0.0;
  }
  return x <= center ? (x - left) / (center - left) : (right - x) / (right - center);
}

// The same on whole bins, where feet and peak may coincide: [left, center) rises, [center, right) falls.
double bin_triangle(double x, double left, double center, double right) {
  if (x >= left && x < center) {
    return (x - left) / (center - left);
  }
  return x >= center && x < right ? (right - x) / (right - center) : 0.0;
}

}  // namespace

std::size_t MelFilterbank::empty_band_count() const {
  return static_cast<std::size_t>(
      std::count_if(bands.begin(), bands.end(), [](const MelBand& band) { return band.count == 0; }));
}

double MelFilterbank::largest_gain() const {
  double largest = 0.0;
  for (const MelBand& band : bands) {
    double gain = 0.0;
    for (std::size_t i = 0; i < band.count; ++i) {
      gain += weights[band.offset + i];
    }
    largest = std::max(largest, gain);
  }
  return largest;
}

MelFilterbank make_mel_filterbank(const Options& options) {
  const auto n_bands = static_cast<std::size_t>(options.n_mels);
  const double fft_size = options.fft_size;
  const double low = hz_to_mel(options.low_hz, options.mel_scale);
  const double high = hz_to_mel(options.high_hz, options.mel_scale);
  const double step = (high - low) / static_cast<double>(n_bands + 1);

  // Edges in the unit in which the triangles are straight.
  std::vector<double> edges(n_bands + 2);
  std::vector<double> edges_hz(n_bands + 2);
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const double mel = i == n_bands + 1 ? high : low + step * static_cast<double>(i);
    edges_hz[i] = mel_to_hz(mel, options.mel_scale);
    switch (options.filters) {
      case Filters::mel:
        edges[i] = mel;
        break;
      case Filters::hz:
        edges[i] = edges_hz[i];
        break;
      case Filters::bins:
        edges[i] = std::floor((fft_size + 1.0) * edges_hz[i] / options.sample_rate);
        break;
    }
  }

  MelFilterbank bank;
  bank.bands.reserve(n_bands);
  // The Nyquist bin stays out, as in Kaldi: no triangle reaches it, except by rounding.
  const auto n_bins = static_cast<std::size_t>(options.fft_size / 2);
  for (std::size_t band = 0; band < n_bands; ++band) {
    double scale = options.power_norm == PowerNorm::fft_size ? 1.0 / fft_size : 1.0;
    if (options.filter_norm == FilterNorm::slaney) {
      scale *= 2.0 / (edges_hz[band + 2] - edges_hz[band]);
    }
    MelBand entry;
    entry.offset = bank.weights.size();
    for (std::size_t bin = 0; bin < n_bins; ++bin) {
      const double hz = static_cast<double>(bin) * options.sample_rate / fft_size;
      double weight = 0.0;
      if (options.filters == Filters::bins) {
        weight = bin_triangle(static_cast<double>(bin), edges[band], edges[band + 1], edges[band + 2]);
      } else {
        const double x = options.filters == Filters::mel ? hz_to_mel(hz, options.mel_scale) : hz;
        weight = triangle(x, edges[band], edges[band + 1], edges[band + 2]);
      }
      if (weight > 0.0) {
        if (entry.count == 0) {
          entry.first_bin = bin;
        }
        ++entry.count;
        bank.weights.push_back(weight * scale);
      }
    }
    while (bank.weights.size() % kMelChains != 0) {
      bank.weights.push_back(0.0);
    }
    bank.bands.push_back(entry);
  }
  return bank;
}

}  // namespace satn::frontend
