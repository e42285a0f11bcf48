// The options by name: the one table of fields, and of the names of their values, behind JSON, Python and the C struct.
#pragma once

#include <array>
#include <cstddef>

#include "options.hpp"
#include "satn_frontend.h"

namespace satn::frontend {

// The names of an enumeration's values, in order.
template <class Enum>
inline constexpr std::array<const char*, 0> kNames = {};
template <>
inline constexpr std::array<const char*, 6> kNames<Preset> = {"kaldi", "kaldi-hamming", "htk",
                                                              "psf",   "torchaudio",    "librosa"};
template <>
inline constexpr std::array<const char*, 2> kNames<Precision> = {"float32", "float64"};
template <>
inline constexpr std::array<const char*, 6> kNames<Window> = {"povey", "hamming",       "hamming_periodic",
                                                              "hann",  "hann_periodic", "rectangular"};
template <>
inline constexpr std::array<const char*, 4> kNames<Framing> = {"snip_edges", "pad_end", "center_zero",
                                                               "center_reflect"};
template <>
inline constexpr std::array<const char*, 2> kNames<SampleRounding> = {"down", "nearest"};
template <>
inline constexpr std::array<const char*, 2> kNames<PreemphasisMode> = {"frame", "signal"};
template <>
inline constexpr std::array<const char*, 2> kNames<MelScale> = {"htk", "slaney"};
template <>
inline constexpr std::array<const char*, 3> kNames<Filters> = {"mel", "hz", "bins"};
template <>
inline constexpr std::array<const char*, 2> kNames<FilterNorm> = {"none", "slaney"};
template <>
inline constexpr std::array<const char*, 2> kNames<PowerNorm> = {"none", "fft_size"};
template <>
inline constexpr std::array<const char*, 4> kNames<Log> = {"ln", "log10", "db", "none"};
template <>
inline constexpr std::array<const char*, 2> kNames<FloorMode> = {"clamp", "zero"};

// What null (None in Python) stands for: nothing, "choose for me" (0), or "off" (a negative number).
enum class Null { refused, automatic, off };

template <class Value, class InC>
struct Field {
  using Type = Value;

  const char* name;
  Value Options::* in_core;
  InC satn_frontend_options::* in_c;
  Null null = Null::refused;

  constexpr bool is_null(Value value) const {
    const auto number = static_cast<double>(value);
    return (null == Null::automatic && number == 0.0) || (null == Null::off && number < 0.0);
  }
  constexpr Value null_value() const {
    if constexpr (std::is_enum_v<Value>) {
      return Value{};  // no choice of names can be null
    } else {
      return static_cast<Value>(null == Null::off ? -1 : 0);
    }
  }
};
template <class Value, class InC>
Field(const char*, Value Options::*, InC satn_frontend_options::*) -> Field<Value, InC>;
template <class Value, class InC>
Field(const char*, Value Options::*, InC satn_frontend_options::*, Null) -> Field<Value, InC>;

// Calls `visit` with every field, in the order in which people read them.
template <class Visit>
constexpr void for_each_field(Visit&& visit) {
  using O = Options;
  using C = satn_frontend_options;
  visit(Field{"sample_rate", &O::sample_rate, &C::sample_rate});
  visit(Field{"n_mels", &O::n_mels, &C::n_mels});
  visit(Field{"preset", &O::preset, &C::preset});
  visit(Field{"precision", &O::precision, &C::precision});
  visit(Field{"window_seconds", &O::window_seconds, &C::window_seconds});
  visit(Field{"hop_seconds", &O::hop_seconds, &C::hop_seconds});
  visit(Field{"sample_rounding", &O::sample_rounding, &C::sample_rounding});
  visit(Field{"fft_size", &O::fft_size, &C::fft_size, Null::automatic});
  visit(Field{"window", &O::window, &C::window});
  visit(Field{"framing", &O::framing, &C::framing});
  visit(Field{"remove_dc", &O::remove_dc, &C::remove_dc});
  visit(Field{"preemphasis", &O::preemphasis, &C::preemphasis});
  visit(Field{"preemphasis_mode", &O::preemphasis_mode, &C::preemphasis_mode});
  visit(Field{"low_hz", &O::low_hz, &C::low_hz});
  visit(Field{"high_hz", &O::high_hz, &C::high_hz, Null::automatic});
  visit(Field{"mel_scale", &O::mel_scale, &C::mel_scale});
  visit(Field{"filters", &O::filters, &C::filters});
  visit(Field{"filter_norm", &O::filter_norm, &C::filter_norm});
  visit(Field{"power_norm", &O::power_norm, &C::power_norm});
  visit(Field{"log", &O::log, &C::log});
  visit(Field{"floor", &O::floor, &C::floor});
  visit(Field{"floor_mode", &O::floor_mode, &C::floor_mode});
  visit(Field{"top_db", &O::top_db, &C::top_db, Null::off});
  visit(Field{"float_scale", &O::float_scale, &C::float_scale});
  visit(Field{"int16_scale", &O::int16_scale, &C::int16_scale});
  visit(Field{"deltas", &O::deltas, &C::deltas});
  visit(Field{"delta_window", &O::delta_window, &C::delta_window});
}

constexpr std::size_t count_fields() {
  std::size_t count = 0;
  for_each_field([&count](const auto&) { ++count; });
  return count;
}

inline constexpr std::size_t kFieldCount = count_fields();

}  // namespace satn::frontend
