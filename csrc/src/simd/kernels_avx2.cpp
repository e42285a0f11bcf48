// Compiled with -mavx2 -mfma.
#define SATN_ISA avx2
#define SATN_LANE_BYTES 32
#include "kernels.hpp"

namespace satn::frontend {

Kernels<float> avx2_float_kernels() { return avx2::kernels<float>(); }
#if !defined(SATN_FRONTEND_NO_FLOAT64)
Kernels<double> avx2_double_kernels() { return avx2::kernels<double>(); }
#endif

}  // namespace satn::frontend
