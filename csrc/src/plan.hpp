// Everything that is computed once: options, tables, geometry. Immutable, so threads may share it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fft_tables.hpp"
#include "isa.hpp"
#include "kernel.hpp"
#include "memory.hpp"
#include "options.hpp"
#include "span.hpp"
#include "status.hpp"

// What the C API hands out as a plan. Its precision says which template instance it is.
struct satn_frontend_plan {
  satn::frontend::Precision precision;
};

namespace satn::frontend {

template <class Real>
class Plan : public satn_frontend_plan, public Counted {
 public:
  // Tables for resolved options (see `resolve`) and a supported instruction set. Made by Shared.
  Plan(Arena& arena, const Options& options, Isa isa);

  const Options& options() const { return options_; }

  std::size_t n_mels() const { return bands_.size(); }
  std::size_t feature_count() const { return static_cast<std::size_t>(options_.feature_count()); }
  std::size_t window_length() const { return window_.size(); }
  std::size_t hop_length() const { return hop_length_; }
  std::size_t empty_band_count() const { return empty_band_count_; }

  Isa isa() const { return isa_; }
  const Kernels<Real>& kernels() const { return kernels_; }
  const KernelTables<Real>& tables() const { return tables_; }

  // Samples of padding before the first one: frame t covers [t * hop - left_padding, ... + window).
  std::size_t left_padding() const { return left_padding_; }
  bool reflects() const { return options_.framing == Framing::center_reflect; }
  // The fewest samples that can be mirrored at both ends (1 where nothing is mirrored).
  std::size_t least_samples() const { return reflects() ? fft_.size() / 2 + 1 : 1; }
  // SATN_FRONTEND_ERROR_AUDIO for fewer samples than that.
  Status check_length(std::uint64_t n_samples) const;
  // Frames of an utterance; 0 where it is too short for any.
  std::uint64_t frame_count(std::uint64_t n_samples) const;

  // Factor for a sample of the given type.
  double scale(const float*) const { return options_.float_scale; }
  double scale(const double*) const { return options_.float_scale; }
  double scale(const std::int16_t*) const { return options_.int16_scale; }
  // Scaled samples beyond this could overflow in the power spectrum.
  Real largest_sample() const { return largest_sample_; }

 private:
  void compute_tables();
  KernelTables<Real> view_tables() const;

  Options options_;
  Isa isa_;
  Kernels<Real> kernels_;
  std::size_t hop_length_;
  Span<Real> window_;
  FftTables<Real> fft_;
  Span<MelBand> bands_;
  Span<Real> mel_weights_;  // with the 1/4 that RealFft leaves to its caller
  std::size_t left_padding_ = 0;
  std::size_t empty_band_count_ = 0;
  Real largest_sample_ = 0;
  KernelTables<Real> tables_;  // views of the above
};

extern template class Plan<float>;
#if !defined(SATN_FRONTEND_NO_FLOAT64)
extern template class Plan<double>;
#endif

}  // namespace satn::frontend
