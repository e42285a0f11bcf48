#include "isa.hpp"

#if !defined(SATN_FRONTEND_BARE_METAL)
#include <cstdlib>
#endif
#include <cstring>

#include "kernel.hpp"

namespace satn::frontend {
namespace {

bool processor_has(Isa isa) {
#if defined(SATN_FRONTEND_X86_KERNELS)
  switch (isa) {
    case Isa::baseline:
      return true;
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return isa == Isa::baseline;
}

// The user's choice, if there is one.
const char* wanted_isa() {
#if defined(SATN_FRONTEND_BARE_METAL)
  return nullptr;  // no environment to ask
#else
  return std::getenv("SATN_FAST_ISA");
#endif
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::baseline:
      break;
  }
#if defined(__SSE2__)
  return "sse2";
#elif defined(__ARM_NEON)
  return "neon";
#else
  return "scalar";
#endif
}

bool isa_is_supported(Isa isa) { return processor_has(isa); }

Status choose_isa(Isa& isa) {
  const char* wanted = wanted_isa();
  const bool free_choice = wanted == nullptr || *wanted == '\0';
  for (const Isa candidate : kAllIsas) {
    if (isa_is_supported(candidate) && (free_choice || std::strcmp(wanted, isa_name(candidate)) == 0)) {
      isa = candidate;  // they stand in ascending order
      if (!free_choice) {
        return {};
      }
    }
  }
  if (!free_choice) {
    return Status::error(SATN_FRONTEND_ERROR_ARGUMENT,
                         "SATN_FAST_ISA is %.32s, but this build and processor have %s%s%s: choose one of these, or "
                         "unset it",
                         wanted, isa_name(Isa::baseline), isa_is_supported(Isa::avx2) ? ", avx2" : "",
                         isa_is_supported(Isa::avx512) ? ", avx512" : "");
  }
  return {};
}

}  // namespace satn::frontend
