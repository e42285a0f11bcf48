// Compiled with -mavx512f and its companions.
#define SATN_ISA avx512
#define SATN_LANE_BYTES 64
#include "kernels.hpp"

namespace satn::frontend {

Kernels<float> avx512_float_kernels() { return avx512::kernels<float>(); }
#if !defined(SATN_FRONTEND_NO_FLOAT64)
Kernels<double> avx512_double_kernels() { return avx512::kernels<double>(); }
#endif

}  // namespace satn::frontend
