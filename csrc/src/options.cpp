#include "options.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <type_traits>

#include "option_fields.hpp"

namespace satn::frontend {
namespace {

constexpr double kMaxHopSamples = 65536.0;
constexpr satn_frontend_status kBad = SATN_FRONTEND_ERROR_OPTIONS;

double in_samples(double seconds, std::int32_t sample_rate, SampleRounding rounding) {
  const double samples = seconds * sample_rate;
  // A millionth of a sample of slack, so that 0.01 s at 44.1 kHz is 441 samples whatever the last bit of 0.01 is.
  return rounding == SampleRounding::down ? std::floor(samples + 1e-6) : std::floor(samples + 0.5 + 1e-6);
}

Status check_choices(const Options& o) {
  Status status;
  for_each_field([&o, &status](const auto& field) {
    using Value = typename std::decay_t<decltype(field)>::Type;
    if constexpr (std::is_enum_v<Value>) {
      const auto value = static_cast<std::int32_t>(o.*field.in_core);
      if (status.ok() && (value < 0 || value >= static_cast<std::int32_t>(kNames<Value>.size()))) {
        status = Status::error(kBad, "%s is %d, which is none of its constants in satn_frontend.h", field.name, value);
      }
    }
  });
  return status;
}

Status check_precision([[maybe_unused]] const Options& o) {
#if defined(SATN_FRONTEND_NO_FLOAT64)
  if (o.precision == Precision::float64) {
    return Status::error(kBad,
                         "precision is float64, which this library was built without: take SATN_FRONTEND_FLOAT32, or "
                         "build the library with -DSATN_FRONTEND_FLOAT64=ON");
  }
#endif
  return {};
}

// Resolves fft_size, once window and hop are known to be sane.
Status resolve_frames(Options& o) {
  const struct {
    const char* name;
    double seconds;
    double most;
  } durations[] = {{"window_seconds", o.window_seconds, kMaxFftSize}, {"hop_seconds", o.hop_seconds, kMaxHopSamples}};
  for (const auto& duration : durations) {
    const double samples =
        std::isfinite(duration.seconds) ? in_samples(duration.seconds, o.sample_rate, o.sample_rounding) : -1.0;
    const double least = duration.name[0] == 'w' ? 2.0 : 1.0;
    if (!(samples >= least && samples <= duration.most)) {
      return Status::error(kBad, "%s is %g, which must be %g to %g samples at %d Hz: give %g to %g seconds",
                           duration.name, duration.seconds, least, duration.most, o.sample_rate, least / o.sample_rate,
                           duration.most / o.sample_rate);
    }
  }
  std::int32_t smallest = 16;
  while (smallest < o.window_length()) {
    smallest *= 2;
  }
  if (o.fft_size == 0) {
    o.fft_size = smallest;
  }
  const bool power_of_two = o.fft_size > 0 && (o.fft_size & (o.fft_size - 1)) == 0;
  if (!power_of_two || o.fft_size < smallest || o.fft_size > kMaxFftSize) {
    return Status::error(kBad, "fft_size is %d, but must be a power of two from %d (the window has %d samples) to %d",
                         o.fft_size, smallest, o.window_length(), kMaxFftSize);
  }
  return {};
}

Status check_bands(Options& o) {
  const double nyquist = 0.5 * o.sample_rate;
  if (o.n_mels < 1 || o.n_mels > o.fft_size / 2) {
    return Status::error(kBad, "n_mels is %d, but must be 1 to %d, half of fft_size", o.n_mels, o.fft_size / 2);
  }
  if (o.high_hz == 0.0) {
    o.high_hz = nyquist;
  }
  if (!(o.high_hz > 0.0 && o.high_hz <= nyquist)) {
    return Status::error(kBad, "high_hz is %g, but must be above low_hz and at most half the sample rate, %g Hz",
                         o.high_hz, nyquist);
  }
  if (!(o.low_hz >= 0.0 && o.low_hz < o.high_hz)) {
    return Status::error(kBad, "low_hz is %g, but must be at least 0 and below high_hz, %g Hz", o.low_hz, o.high_hz);
  }
  return {};
}

Status check_levels(const Options& o) {
  if (!(o.preemphasis >= 0.0 && o.preemphasis <= 1.0)) {
    return Status::error(kBad, "preemphasis is %g, but must be 0 (off) to 1", o.preemphasis);
  }
  const double least = o.precision == Precision::float32 ? FLT_MIN : DBL_MIN;
  const bool floor_fits = std::isfinite(o.floor) && o.floor < 1e30;
  if (o.log == Log::none ? !(floor_fits && o.floor >= 0.0) : !(floor_fits && o.floor >= least)) {
    return Status::error(kBad,
                         "floor is %g, but must be an energy of at least %g (the logarithm is taken of it), below 1e30",
                         o.floor, o.log == Log::none ? 0.0 : least);
  }
  if (std::isnan(o.top_db) || (o.top_db >= 0.0 && !(o.log == Log::db && std::isfinite(o.top_db)))) {
    return Status::error(kBad,
                         "top_db is %g, which needs log in decibels (log = db); a negative top_db (None in Python) "
                         "turns it off",
                         o.top_db);
  }
  for (const double scale : {o.float_scale, o.int16_scale}) {
    if (!(std::isfinite(scale) && std::abs(scale) >= 1e-12 && std::abs(scale) <= 1e12)) {
      return Status::error(kBad, "%s is %g, but must be a factor between 1e-12 and 1e12",
                           scale == o.float_scale ? "float_scale" : "int16_scale", scale);
    }
  }
  if (o.delta_window < 1 || o.delta_window > kMaxDeltaWindow) {
    return Status::error(kBad, "delta_window is %d, but must be 1 to %d frames", o.delta_window, kMaxDeltaWindow);
  }
  return {};
}

}  // namespace

std::int32_t Options::window_length() const {
  return static_cast<std::int32_t>(in_samples(window_seconds, sample_rate, sample_rounding));
}

std::int32_t Options::hop_length() const {
  return static_cast<std::int32_t>(in_samples(hop_seconds, sample_rate, sample_rounding));
}

Status preset_options(std::int32_t preset, std::int32_t sample_rate, std::int32_t n_mels, Options& options) {
  Options o;
  o.preset = static_cast<Preset>(preset);
  o.sample_rate = sample_rate;
  o.n_mels = n_mels;
  switch (o.preset) {
    case Preset::kaldi:
      break;
    case Preset::kaldi_hamming:
      o.window = Window::hamming;
      break;
    case Preset::htk:
      o.sample_rounding = SampleRounding::nearest;
      o.window = Window::hamming;
      o.remove_dc = false;
      o.low_hz = 0.0;
      o.high_hz = std::min(8000.0, 0.5 * sample_rate);  // cMelspec's default, lowered to Nyquist as the tool does
      o.floor = 1e-12;                                  // cVectorOperation's logfloor, as measured on silence
      break;
    case Preset::psf:
      o.sample_rounding = SampleRounding::nearest;
      o.window = Window::rectangular;
      o.framing = Framing::pad_end;
      o.remove_dc = false;
      o.preemphasis_mode = PreemphasisMode::signal;
      o.low_hz = 0.0;
      o.filters = Filters::bins;
      o.power_norm = PowerNorm::fft_size;
      o.floor_mode = FloorMode::zero;
      o.floor = DBL_EPSILON;
      o.float_scale = 1.0;
      break;
    case Preset::torchaudio:
    case Preset::librosa:
      o.sample_rounding = SampleRounding::nearest;
      o.window = Window::hann_periodic;
      o.framing = Framing::center_reflect;
      o.remove_dc = false;
      o.preemphasis = 0.0;
      o.low_hz = 0.0;
      o.filters = Filters::hz;
      o.floor = 1e-10;
      o.float_scale = 1.0;
      o.int16_scale = 1.0 / 32768.0;
      if (o.preset == Preset::librosa) {
        o.framing = Framing::center_zero;
        o.mel_scale = MelScale::slaney;
        o.filter_norm = FilterNorm::slaney;
        o.log = Log::db;
        o.top_db = 80.0;
      }
      break;
    default:
      return Status::error(SATN_FRONTEND_ERROR_ARGUMENT, "preset is %d, but must be one of satn_frontend_preset_id",
                           preset);
  }
  options = o;
  return {};
}

Status resolve(Options& options) {
  if (options.sample_rate < 1000 || options.sample_rate > 384000) {
    return Status::error(kBad, "sample_rate is %d, but must be 1000 to 384000 Hz", options.sample_rate);
  }
  Status status = check_choices(options);
  if (status.ok()) {
    status = check_precision(options);
  }
  if (status.ok()) {
    status = resolve_frames(options);
  }
  if (status.ok()) {
    status = check_bands(options);
  }
  if (status.ok()) {
    status = check_levels(options);
  }
  return status;
}

}  // namespace satn::frontend
