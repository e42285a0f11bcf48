// Every parameter of the front end, its presets, and the check that refuses what cannot work.
#pragma once

#include <cstdint>

#include "satn_frontend.h"
#include "status.hpp"

namespace satn::frontend {

enum class Preset : std::int32_t {
  kaldi = SATN_FRONTEND_KALDI,
  kaldi_hamming = SATN_FRONTEND_KALDI_HAMMING,
  htk = SATN_FRONTEND_HTK,
  psf = SATN_FRONTEND_PSF,
  torchaudio = SATN_FRONTEND_TORCHAUDIO,
  librosa = SATN_FRONTEND_LIBROSA,
};
enum class Precision : std::int32_t { float32 = SATN_FRONTEND_FLOAT32, float64 = SATN_FRONTEND_FLOAT64 };
enum class Window : std::int32_t {
  povey = SATN_FRONTEND_WINDOW_POVEY,
  hamming = SATN_FRONTEND_WINDOW_HAMMING,
  hamming_periodic = SATN_FRONTEND_WINDOW_HAMMING_PERIODIC,
  hann = SATN_FRONTEND_WINDOW_HANN,
  hann_periodic = SATN_FRONTEND_WINDOW_HANN_PERIODIC,
  rectangular = SATN_FRONTEND_WINDOW_RECTANGULAR,
};
enum class Framing : std::int32_t {
  snip_edges = SATN_FRONTEND_FRAMING_SNIP_EDGES,
  pad_end = SATN_FRONTEND_FRAMING_PAD_END,
  center_zero = SATN_FRONTEND_FRAMING_CENTER_ZERO,
  center_reflect = SATN_FRONTEND_FRAMING_CENTER_REFLECT,
};
enum class SampleRounding : std::int32_t { down = SATN_FRONTEND_ROUND_DOWN, nearest = SATN_FRONTEND_ROUND_NEAREST };
enum class PreemphasisMode : std::int32_t {
  frame = SATN_FRONTEND_PREEMPHASIS_FRAME,
  signal = SATN_FRONTEND_PREEMPHASIS_SIGNAL,
};
enum class MelScale : std::int32_t { htk = SATN_FRONTEND_MEL_HTK, slaney = SATN_FRONTEND_MEL_SLANEY };
enum class Filters : std::int32_t {
  mel = SATN_FRONTEND_FILTERS_MEL,
  hz = SATN_FRONTEND_FILTERS_HZ,
  bins = SATN_FRONTEND_FILTERS_BINS,
};
enum class FilterNorm : std::int32_t { none = SATN_FRONTEND_NORM_NONE, slaney = SATN_FRONTEND_NORM_SLANEY };
enum class PowerNorm : std::int32_t { none = SATN_FRONTEND_POWER_NONE, fft_size = SATN_FRONTEND_POWER_FFT_SIZE };
enum class Log : std::int32_t {
  ln = SATN_FRONTEND_LOG_LN,
  log10 = SATN_FRONTEND_LOG_LOG10,
  db = SATN_FRONTEND_LOG_DB,
  none = SATN_FRONTEND_LOG_NONE,
};
enum class FloorMode : std::int32_t { clamp = SATN_FRONTEND_FLOOR_CLAMP, zero = SATN_FRONTEND_FLOOR_ZERO };

// Fields as in satn_frontend_options, where each is documented. The values below are the `kaldi` preset at 16 kHz.
struct Options {
  Preset preset = Preset::kaldi;
  std::int32_t sample_rate = 16000;
  std::int32_t n_mels = 40;
  Precision precision = Precision::float32;
  double window_seconds = 0.025;
  double hop_seconds = 0.010;
  SampleRounding sample_rounding = SampleRounding::down;
  std::int32_t fft_size = 0;
  Window window = Window::povey;
  Framing framing = Framing::snip_edges;
  bool remove_dc = true;
  PreemphasisMode preemphasis_mode = PreemphasisMode::frame;
  double preemphasis = 0.97;
  double low_hz = 20.0;
  double high_hz = 0.0;
  MelScale mel_scale = MelScale::htk;
  Filters filters = Filters::mel;
  FilterNorm filter_norm = FilterNorm::none;
  PowerNorm power_norm = PowerNorm::none;
  Log log = Log::ln;
  FloorMode floor_mode = FloorMode::clamp;
  double floor = 1.1920929e-07;
  double top_db = -1.0;
  double float_scale = 32768.0;
  double int16_scale = 1.0;
  bool deltas = true;
  std::int32_t delta_window = 2;

  std::int32_t window_length() const;  // samples
  std::int32_t hop_length() const;     // samples
  std::int32_t feature_count() const { return deltas ? 3 * n_mels : n_mels; }
};

constexpr std::int32_t kMaxFftSize = 65536;
constexpr std::int32_t kMaxDeltaWindow = 16;

// The values of a published tool. `fft_size` and `high_hz` are left for `resolve`, except where the tool fixes them.
Status preset_options(std::int32_t preset, std::int32_t sample_rate, std::int32_t n_mels, Options& options);

// Replaces the zeros that mean "choose for me" and checks every field; the message names field, value and remedy.
Status resolve(Options& options);

}  // namespace satn::frontend
