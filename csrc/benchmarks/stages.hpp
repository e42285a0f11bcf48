// The steps of the frame kernel as functions to be timed. Plain data, like kernel.hpp and for the same reason.
#pragma once

#include <cstddef>

#include "isa.hpp"
#include "kernel.hpp"

namespace satn::frontend::benchmark {

// Each step takes what a kernel takes, and finds in `scratch` what the step before it left there.
struct Stage {
  const char* name;
  FrameKernel<float> run;
};

constexpr std::size_t kStages = 6;
constexpr std::size_t kFftStage = 2;

struct FrameStages {
  std::size_t width;  // frames that are computed side by side
  Stage stages[kStages];
  FrameKernel<float> whole;
};

struct KernelStages {
  FrameStages group;
  FrameStages single;
};

KernelStages baseline_stages();
KernelStages avx2_stages();
KernelStages avx512_stages();

}  // namespace satn::frontend::benchmark
