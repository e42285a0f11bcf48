// What a frame kernel reads and how it is called: plain data and function pointers, because kernels are compiled for
// several instruction sets (simd/) and must share no inline function with the rest.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.hpp"

namespace satn::frontend {

// One Mel band's weights over consecutive FFT bins. `count` is 0 for a band too narrow to hold a bin.
struct MelBand {
  std::size_t first_bin = 0;
  std::size_t count = 0;
  std::size_t offset = 0;  // of its first weight
};

// Partial sums of which a band's energy is made. A band's weights are padded with zeros to a multiple.
constexpr std::size_t kMelChains = 4;

template <class Real>
struct KernelTables {
  std::size_t window_length;
  std::size_t hop_length;
  const Real* window;
  bool remove_dc;
  bool emphasise;          // within each frame
  Real emphasis_rest;      // 1 - coefficient
  std::size_t half;        // half the FFT size: complex numbers of the transform
  bool half_is_odd_power;  // of two
  const Real* twiddles;
  const std::uint32_t* positions;
  const Real* split_real;
  const Real* split_imag;
  std::size_t n_mels;
  const MelBand* bands;
  const Real* mel_weights;  // with the 1/4 that the FFT leaves to its caller
  Real zero_becomes;        // an energy of exactly 0 becomes this, then
  Real least;               // everything below this becomes it
  bool take_log;
  Real log_factor;  // from the natural logarithm
};

// Frame i starts at samples[i * hop]; the n_mels log energies of the first n_frames go to rows[i * stride]. Samples are
// read for as many frames as the kernel computes at once. Scratch memory is aligned for the widest lane.
template <class Real>
using FrameKernel = void (*)(const KernelTables<Real>& tables, const Real* samples, std::size_t n_frames, Real* rows,
                             std::size_t stride, void* scratch);

// What happens to samples on their way into frames.
template <class Real, class Sample>
struct SampleKernels {
  Real (*scaled)(Sample sample, double factor);
  // Whether every scaled sample is a number of at most that magnitude.
  bool (*fit)(const Sample* samples, std::size_t count, double factor, Real largest);
  void (*scale)(const Sample* samples, std::size_t count, double factor, Real* to);
};

template <class Real>
struct Kernels {
  std::size_t width;  // frames that `group` computes at once
  FrameKernel<Real> group;
  FrameKernel<Real> single;
  std::size_t (*scratch_bytes)(const KernelTables<Real>& tables);
  // out = sum over i < reach of weights[i] * (after[i] - before[i]), for `count` numbers.
  void (*regress)(const Real* const* after, const Real* const* before, const Real* weights, std::size_t reach,
                  std::size_t count, Real* out);
  SampleKernels<Real, float> float_samples;
  SampleKernels<Real, double> double_samples;
  SampleKernels<Real, std::int16_t> int16_samples;

  const SampleKernels<Real, float>& samples(const float*) const { return float_samples; }
  const SampleKernels<Real, double>& samples(const double*) const { return double_samples; }
  const SampleKernels<Real, std::int16_t>& samples(const std::int16_t*) const { return int16_samples; }
};

// The kernels for an instruction set that this processor has.
template <class Real>
Kernels<Real> kernels_for(Isa isa);

// One pair for each file simd/kernels_*.cpp.
Kernels<float> baseline_float_kernels();
Kernels<double> baseline_double_kernels();
Kernels<float> avx2_float_kernels();
Kernels<double> avx2_double_kernels();
Kernels<float> avx512_float_kernels();
Kernels<double> avx512_double_kernels();

}  // namespace satn::frontend
