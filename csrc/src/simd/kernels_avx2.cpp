// Compiled with -mavx2.
#define SATN_ISA avx2
#define SATN_LANE_BYTES 32
#include "frame_kernel.hpp"

namespace satn::frontend {

FrameKernels<float> avx2_float_kernels() { return avx2::kernels<float>(); }
FrameKernels<double> avx2_double_kernels() { return avx2::kernels<double>(); }

}  // namespace satn::frontend
