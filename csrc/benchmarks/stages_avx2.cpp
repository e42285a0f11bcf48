// Compiled like simd/kernels_avx2.cpp, into a namespace of its own.
#define SATN_ISA stages_avx2
#define SATN_LANE_BYTES 32
#include "stages_of_isa.hpp"

namespace satn::frontend::benchmark {

KernelStages avx2_stages() { return stages_avx2::kernel_stages(); }

}  // namespace satn::frontend::benchmark
