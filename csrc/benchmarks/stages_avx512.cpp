// Compiled like simd/kernels_avx512.cpp, into a namespace of its own.
#define SATN_ISA stages_avx512
#define SATN_LANE_BYTES 64
#include "stages_of_isa.hpp"

namespace satn::frontend::benchmark {

KernelStages avx512_stages() { return stages_avx512::kernel_stages(); }

}  // namespace satn::frontend::benchmark
