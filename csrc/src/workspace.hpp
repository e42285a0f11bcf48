// Scratch memory for one group of frames: what a thread needs beside the shared plan.
#pragma once

#include <cstddef>
#include <vector>

#include "lane.hpp"
#include "plan.hpp"

namespace satn::frontend {

template <class Lane>
struct LaneWorkspace {
  using Real = typename LaneTraits<Lane>::Real;

  explicit LaneWorkspace(const Plan<Real>& plan)
      : samples(plan.window_length()), real(plan.fft().half()), imag(plan.fft().half()), power(plan.fft().half() + 1) {}

  std::vector<Lane> samples;
  std::vector<Lane> real;
  std::vector<Lane> imag;
  std::vector<Lane> power;
};

}  // namespace satn::frontend
