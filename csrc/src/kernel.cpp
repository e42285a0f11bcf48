#include "kernel.hpp"

namespace satn::frontend {

template <>
Kernels<float> kernels_for<float>([[maybe_unused]] Isa isa) {
#if defined(SATN_FRONTEND_X86_KERNELS)
  if (isa != Isa::baseline) {
    return isa == Isa::avx2 ? avx2_float_kernels() : avx512_float_kernels();
  }
#endif
  return baseline_float_kernels();
}

#if !defined(SATN_FRONTEND_NO_FLOAT64)
template <>
Kernels<double> kernels_for<double>([[maybe_unused]] Isa isa) {
#if defined(SATN_FRONTEND_X86_KERNELS)
  if (isa != Isa::baseline) {
    return isa == Isa::avx2 ? avx2_double_kernels() : avx512_double_kernels();
  }
#endif
  return baseline_double_kernels();
}
#endif

}  // namespace satn::frontend
