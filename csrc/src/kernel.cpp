#include "kernel.hpp"

namespace satn::frontend {

// One pair for each file simd/kernels_*.cpp.
FrameKernels<float> baseline_float_kernels();
FrameKernels<double> baseline_double_kernels();
FrameKernels<float> avx2_float_kernels();
FrameKernels<double> avx2_double_kernels();
FrameKernels<float> avx512_float_kernels();
FrameKernels<double> avx512_double_kernels();

template <>
FrameKernels<float> frame_kernels<float>([[maybe_unused]] Isa isa) {
#if defined(SATN_FRONTEND_X86_KERNELS)
  if (isa != Isa::baseline) {
    return isa == Isa::avx2 ? avx2_float_kernels() : avx512_float_kernels();
  }
#endif
  return baseline_float_kernels();
}

template <>
FrameKernels<double> frame_kernels<double>([[maybe_unused]] Isa isa) {
#if defined(SATN_FRONTEND_X86_KERNELS)
  if (isa != Isa::baseline) {
    return isa == Isa::avx2 ? avx2_double_kernels() : avx512_double_kernels();
  }
#endif
  return baseline_double_kernels();
}

}  // namespace satn::frontend
