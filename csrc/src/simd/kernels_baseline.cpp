// 16 bytes are one register of every x86-64 and every 64-bit ARM. A microcontroller computes frame by frame: its memory
// is small and its stream in no hurry.
#define SATN_ISA baseline
#if defined(SATN_FRONTEND_BARE_METAL)
#define SATN_LANE_BYTES 4
#else
#define SATN_LANE_BYTES 16
#endif
#include "kernels.hpp"

namespace satn::frontend {

Kernels<float> baseline_float_kernels() { return baseline::kernels<float>(); }
#if !defined(SATN_FRONTEND_NO_FLOAT64)
Kernels<double> baseline_double_kernels() { return baseline::kernels<double>(); }
#endif

}  // namespace satn::frontend
