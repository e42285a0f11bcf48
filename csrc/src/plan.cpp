#include "plan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "mel.hpp"
#include "window.hpp"

namespace satn::frontend {

template <class Real>
Plan<Real>::Plan(Arena& arena, const Options& options, Isa isa)
    : satn_frontend_plan{options.precision},
      options_(options),
      isa_(isa),
      kernels_(kernels_for<Real>(isa)),
      hop_length_(static_cast<std::size_t>(options.hop_length())),
      window_(arena.take<Real>(static_cast<std::size_t>(options.window_length()))),
      fft_(arena, static_cast<std::size_t>(options.fft_size)),
      bands_(arena.take<MelBand>(static_cast<std::size_t>(options.n_mels))),
      mel_weights_(arena.take<Real>(count_mel_weights(options))) {
  if (options.framing == Framing::center_zero || options.framing == Framing::center_reflect) {
    // The window stands in the middle of the FFT, the middle of the FFT on the frame's centre.
    left_padding_ = fft_.size() / 2 - (fft_.size() - window_.size()) / 2;
  }
  if (!arena.measures()) {
    compute_tables();
  }
}

template <class Real>
void Plan<Real>::compute_tables() {
  double window_sum = 0.0;
  for (std::size_t i = 0; i < window_.size(); ++i) {
    const double coefficient = window_coefficient(options_.window, window_.size(), i);
    window_[i] = static_cast<Real>(coefficient);
    window_sum += std::abs(coefficient);
  }
  const double mel_gain = make_mel_filterbank(options_, 0.25, bands_, mel_weights_);
  empty_band_count_ = static_cast<std::size_t>(
      std::count_if(bands_.begin(), bands_.end(), [](const MelBand& band) { return band.count == 0; }));

  // |X| <= window_sum * |x|, twice that for a removed mean and (1 + c) times for pre-emphasis; a factor of 16 to spare.
  const double gain = 2.0 * (1.0 + options_.preemphasis) * window_sum;
  const double energy = std::numeric_limits<Real>::max() / (16.0 * std::max(mel_gain, 1.0));
  largest_sample_ = static_cast<Real>(std::sqrt(energy) / gain);
  tables_ = view_tables();
}

template <class Real>
KernelTables<Real> Plan<Real>::view_tables() const {
  constexpr double kInverseLn10 = 0.43429448190325182765;
  const bool take_log = options_.log != Log::none;
  const bool clamp = options_.floor_mode == FloorMode::clamp;
  const Real floor = static_cast<Real>(options_.floor);
  // The logarithm wants normal numbers; only an exact zero meets the floor in the `zero` mode.
  const Real least_unclamped = take_log ? std::numeric_limits<Real>::min() : Real(0);

  KernelTables<Real> tables{};
  tables.window_length = window_.size();
  tables.hop_length = hop_length_;
  tables.window = window_.data();
  tables.remove_dc = options_.remove_dc;
  tables.emphasise = options_.preemphasis_mode == PreemphasisMode::frame && options_.preemphasis > 0.0;
  tables.emphasis_rest = static_cast<Real>(1.0 - options_.preemphasis);
  tables.half = fft_.half();
  tables.half_is_odd_power = FftTables<Real>::is_odd_power(fft_.half());
  tables.twiddles = fft_.twiddles();
  tables.positions = fft_.positions();
  tables.split_real = fft_.split_real();
  tables.split_imag = fft_.split_imag();
  tables.n_mels = bands_.size();
  tables.bands = bands_.data();
  tables.mel_weights = mel_weights_.data();
  tables.zero_becomes = clamp ? Real(0) : floor;
  tables.least = clamp ? floor : least_unclamped;
  tables.take_log = take_log;
  const double log10_factor = options_.log == Log::db ? 10.0 * kInverseLn10 : kInverseLn10;
  tables.log_factor = static_cast<Real>(options_.log == Log::ln ? 1.0 : log10_factor);
  return tables;
}

template <class Real>
Status Plan<Real>::check_length(std::uint64_t n_samples) const {
  if (n_samples >= least_samples()) {
    return {};
  }
  return Status::error(SATN_FRONTEND_ERROR_AUDIO,
                       "%llu samples are too few to mirror at the ends: framing center_reflect needs more than "
                       "fft_size / 2, at least %llu; give more audio, or take framing center_zero",
                       n_samples, least_samples());
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
#if !defined(SATN_FRONTEND_NO_FLOAT64)
template class Plan<double>;
#endif

}  // namespace satn::frontend
