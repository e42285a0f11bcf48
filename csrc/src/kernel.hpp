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

// Alignment of a kernel's scratch memory, in bytes: that of the widest lane.
constexpr std::size_t kScratchAlignment = 64;

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

// Frame i starts at samples[i * hop]; its n_mels log energies go to rows[i * n_mels].
template <class Real>
using FrameKernel = void (*)(const KernelTables<Real>& tables, const Real* samples, Real* rows, void* scratch);

template <class Real>
struct FrameKernels {
  std::size_t width;  // frames that `group` computes at once
  FrameKernel<Real> group;
  FrameKernel<Real> single;
  std::size_t (*scratch_bytes)(const KernelTables<Real>& tables);
};

// The kernels for an instruction set that this processor has.
template <class Real>
FrameKernels<Real> frame_kernels(Isa isa);

}  // namespace satn::frontend
