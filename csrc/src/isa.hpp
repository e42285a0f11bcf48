// Which instruction set the frame kernels use. One build holds several; the processor decides, or the user.
#pragma once

#include "status.hpp"

namespace satn::frontend {

enum class Isa { baseline, avx2, avx512 };
constexpr Isa kAllIsas[] = {Isa::baseline, Isa::avx2, Isa::avx512};

// "sse2", "neon" or "scalar" for the baseline, whichever this build has; "avx2", "avx512".
const char* isa_name(Isa isa);

// Whether this build holds kernels for it and this processor can run them.
bool isa_is_supported(Isa isa);

// The best one supported, or the one that the environment variable SATN_FAST_ISA names.
Status choose_isa(Isa& isa);

}  // namespace satn::frontend
