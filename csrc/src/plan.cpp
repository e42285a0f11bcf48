#include "plan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "window.hpp"

namespace satn::frontend {

template <class Real>
Plan<Real>::Plan(const Options& options)
    : options_(options),
      fft_(static_cast<std::size_t>(options.fft_size)),
      hop_length_(static_cast<std::size_t>(options.hop_length())) {
  const auto length = static_cast<std::size_t>(options.window_length());
  double window_sum = 0.0;
  for (const double coefficient : make_window(options.window, length)) {
    window_.push_back(static_cast<Real>(coefficient));
    window_sum += std::abs(coefficient);
  }
  if (options.framing == Framing::center_zero || options.framing == Framing::center_reflect) {
    // The window stands in the middle of the FFT, the middle of the FFT on the frame's centre.
    left_padding_ = fft_.size() / 2 - (fft_.size() - length) / 2;
  }

  const MelFilterbank bank = make_mel_filterbank(options);
  bands_ = bank.bands;
  empty_band_count_ = bank.empty_band_count();
  for (const double weight : bank.weights) {
    mel_weights_.push_back(static_cast<Real>(0.25 * weight));
  }

  // |X| <= window_sum * |x|, twice that for a removed mean and (1 + c) times for pre-emphasis; a factor of 16 to spare.
  const double gain = 2.0 * (1.0 + options.preemphasis) * window_sum;
  const double energy = std::numeric_limits<Real>::max() / (16.0 * std::max(bank.largest_gain(), 1.0));
  largest_sample_ = static_cast<Real>(std::sqrt(energy) / gain);
}

template <class Real>
std::uint64_t Plan<Real>::frame_count(std::uint64_t n_samples) const {
  const std::size_t length = window_length();
  switch (options_.framing) {
    case Framing::snip_edges:
      return n_samples < length ? 0 : 1 + (n_samples - length) / hop_length_;
    case Framing::pad_end:
      if (n_samples <= length) {
        return n_samples > 0 ? 1 : 0;
      }
      return 1 + (n_samples - length - 1) / hop_length_ + 1;
    case Framing::center_zero:
    case Framing::center_reflect:
      break;
  }
  return n_samples < least_samples() ? 0 : 1 + n_samples / hop_length_;
}

template class Plan<float>;
template class Plan<double>;

}  // namespace satn::frontend
