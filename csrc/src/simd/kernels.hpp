// The table of kernels of one instruction set.
#pragma once

#include <cstddef>
#include <type_traits>

#include "../kernel.hpp"
#include "elementwise.hpp"
#include "frame_group.hpp"
#include "single_frame.hpp"

namespace satn::frontend::SATN_ISA {

// Single frames take the widest lane that they fill, down to plain numbers.
template <class Real, std::size_t kWidth>
void run_single(const KernelTables<Real>& tables, const Real* samples, std::size_t n_frames, Real* row,
                std::size_t stride, void* scratch) {
  if constexpr (kWidth * sizeof(Real) < 16) {
    FrameGroup<Real>::run(tables, samples, n_frames, row, stride, scratch);
  } else {
    if (SingleFrame<Real, kWidth>::fits(tables)) {
      SingleFrame<Real, kWidth>::run(tables, samples, row, scratch);
    } else {
      run_single<Real, kWidth / 2>(tables, samples, n_frames, row, stride, scratch);
    }
  }
}

template <class Real, std::size_t kWidth>
using LaneOf = std::conditional_t<kWidth == 1, Real, Pack<Real, kWidth>>;

template <class Real, std::size_t kWidth>
std::size_t scratch_bytes(const KernelTables<Real>& tables) {
  const std::size_t group = FrameGroup<LaneOf<Real, kWidth>>::scratch_bytes(tables);
  if constexpr (kWidth * sizeof(Real) < 16) {
    return group;  // single frames are computed likewise
  } else {
    const std::size_t single = SingleFrame<Real, kWidth>::scratch_bytes(tables);
    return group > single ? group : single;
  }
}

template <class Real>
Kernels<Real> kernels() {
  constexpr std::size_t kWidth = SATN_LANE_BYTES / sizeof(Real) > 0 ? SATN_LANE_BYTES / sizeof(Real) : 1;
  return {kWidth,
          &FrameGroup<LaneOf<Real, kWidth>>::run,
          &run_single<Real, kWidth>,
          &scratch_bytes<Real, kWidth>,
          &regress<Real>,
          SampleLoops<Real, float>::kernels(),
          SampleLoops<Real, double>::kernels(),
          SampleLoops<Real, std::int16_t>::kernels()};
}

}  // namespace satn::frontend::SATN_ISA
