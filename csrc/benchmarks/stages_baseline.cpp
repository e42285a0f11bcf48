// Compiled like simd/kernels_baseline.cpp, into a namespace of its own.
#define SATN_ISA stages_baseline
#define SATN_LANE_BYTES 16
#include "stages_of_isa.hpp"

namespace satn::frontend::benchmark {

KernelStages baseline_stages() { return stages_baseline::kernel_stages(); }

}  // namespace satn::frontend::benchmark
