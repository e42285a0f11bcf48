// 16 bytes are one register of every x86-64 and every 64-bit ARM.
#define SATN_ISA baseline
#define SATN_LANE_BYTES 16
#include "kernels.hpp"

namespace satn::frontend {

Kernels<float> baseline_float_kernels() { return baseline::kernels<float>(); }
Kernels<double> baseline_double_kernels() { return baseline::kernels<double>(); }

}  // namespace satn::frontend
