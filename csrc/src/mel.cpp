#include "mel.hpp"

#include <algorithm>
#include <cmath>

namespace satn::frontend {
namespace {

// Slaney's Auditory Toolbox: linear up to 1 kHz, logarithmic above.
constexpr double kSlaneyHzPerMel = 200.0 / 3.0;
constexpr double kSlaneyBreakHz = 1000.0;
constexpr double kSlaneyBreakMel = kSlaneyBreakHz / kSlaneyHzPerMel;
constexpr double kSlaneyLogStep = 0.06875177742094912;  // ln(6.4) / 27

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

// The edges of the triangles, n_mels + 2 of them, each the peak of one and a foot of its neighbours.
class Edges {
 public:
  explicit Edges(const Options& options)
      : options_(options),
        low_(hz_to_mel(options.low_hz, options.mel_scale)),
        high_(hz_to_mel(options.high_hz, options.mel_scale)),
        step_((high_ - low_) / static_cast<double>(options.n_mels + 1)) {}

  struct Edge {
    double position;  // in the unit in which the triangles are straight
    double hz;
  };

  Edge operator()(std::int32_t i) const {
    const double mel = i == options_.n_mels + 1 ? high_ : low_ + step_ * static_cast<double>(i);
    const double hz = mel_to_hz(mel, options_.mel_scale);
    switch (options_.filters) {
      case Filters::mel:
        return {mel, hz};
      case Filters::hz:
        break;
      case Filters::bins:
        return {std::floor((options_.fft_size + 1.0) * hz / options_.sample_rate), hz};
    }
    return {hz, hz};
  }

 private:
  const Options& options_;
  double low_;
  double high_;
  double step_;
};

// Where a bin stands among the edges.
double bin_position(const Options& options, std::size_t bin) {
  if (options.filters == Filters::bins) {
    return static_cast<double>(bin);
  }
  const double hz = static_cast<double>(bin) * options.sample_rate / static_cast<double>(options.fft_size);
  return options.filters == Filters::mel ? hz_to_mel(hz, options.mel_scale) : hz;
}

// visit(band, bin, weight) for every weight above 0, band after band.
template <class Visit>
void for_each_weight(const Options& options, Visit&& visit) {
  const Edges edge(options);
  const auto value = options.filters == Filters::bins ? &bin_triangle : &triangle;
  // The Nyquist bin stays out, as in Kaldi: no triangle reaches it, except by rounding.
  const auto n_bins = static_cast<std::size_t>(options.fft_size / 2);
  std::size_t first_bin = 0;  // not left of the band, nor of those that follow
  Edges::Edge left = edge(0);
  Edges::Edge center = edge(1);
  for (std::int32_t band = 0; band < options.n_mels; ++band) {
    const Edges::Edge right = edge(band + 2);
    double scale = options.power_norm == PowerNorm::fft_size ? 1.0 / options.fft_size : 1.0;
    if (options.filter_norm == FilterNorm::slaney) {
      scale *= 2.0 / (right.hz - left.hz);
    }
    for (std::size_t bin = first_bin; bin < n_bins; ++bin) {
      const double x = bin_position(options, bin);
      if (x >= right.position) {
        break;
      }
      if (x < left.position) {
        first_bin = bin + 1;
      }
      const double weight = value(x, left.position, center.position, right.position);
      if (weight > 0.0) {
        visit(static_cast<std::size_t>(band), bin, weight * scale);
      }
    }
    left = center;
    center = right;
  }
}

// A band's weights are padded with zeros, of which the arena's memory is made.
std::size_t whole_chains(std::size_t n_weights) { return (n_weights + kMelChains - 1) / kMelChains * kMelChains; }

}  // namespace

std::size_t count_mel_weights(const Options& options) {
  std::size_t count = 0;
  std::size_t current = 0;
  for_each_weight(options, [&](std::size_t band, std::size_t, double) {
    count = band == current ? count : whole_chains(count);
    current = band;
    ++count;
  });
  return whole_chains(count);
}

template <class Real>
double make_mel_filterbank(const Options& options, double factor, Span<MelBand> bands, Span<Real> weights) {
  double largest_sum = 0.0;
  double sum = 0.0;
  std::size_t offset = 0;
  for_each_weight(options, [&](std::size_t band, std::size_t bin, double weight) {
    MelBand& entry = bands[band];
    if (entry.count == 0) {
      offset = whole_chains(offset);
      entry.first_bin = bin;
      entry.offset = offset;
      sum = 0.0;
    }
    ++entry.count;
    weights[offset++] = static_cast<Real>(factor * weight);
    sum += weight;
    largest_sum = std::max(largest_sum, sum);
  });
  return largest_sum;
}

template double make_mel_filterbank(const Options&, double, Span<MelBand>, Span<float>);
#if !defined(SATN_FRONTEND_NO_FLOAT64)
template double make_mel_filterbank(const Options&, double, Span<MelBand>, Span<double>);
#endif

}  // namespace satn::frontend
