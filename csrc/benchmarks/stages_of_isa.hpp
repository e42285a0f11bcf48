// The only place that knows the inside of the kernels: their steps, each on its own. Compiled without access control.
#pragma once

#include "../src/simd/kernels.hpp"
#include "stages.hpp"

namespace satn::frontend::SATN_ISA {

using Tables = KernelTables<float>;
constexpr std::size_t kFloats = SATN_LANE_BYTES / sizeof(float);

struct GroupStages {
  using Lane = Pack<float, kFloats>;

  static FrameGroup<Lane> frames(const Tables& tables, void* scratch) { return {tables, static_cast<Lane*>(scratch)}; }

  static void mean(const Tables& tables, const float* samples, std::size_t, float*, std::size_t, void* scratch) {
    const FrameGroup<Lane> group = frames(tables, scratch);
    group.energies_[0] = group.mean(samples);
  }
  static void window(const Tables& tables, const float* samples, std::size_t, float*, std::size_t, void* scratch) {
    frames(tables, scratch).fill(samples, LaneTraits<Lane>::all(0));
  }
  static void power(const Tables& tables, const float*, std::size_t, float*, std::size_t, void* scratch) {
    const FrameGroup<Lane> group = frames(tables, scratch);
    GroupFft<Lane>(tables).power_spectrum(group.real_, group.imag_, group.power_);
  }
  static void mel(const Tables& tables, const float*, std::size_t, float*, std::size_t, void* scratch) {
    frames(tables, scratch).apply_filterbank();
  }
  static void log(const Tables& tables, const float*, std::size_t, float*, std::size_t, void* scratch) {
    frames(tables, scratch).take_log();
  }
  static void rows(const Tables& tables, const float*, std::size_t n_frames, float* to, std::size_t stride,
                   void* scratch) {
    scatter(
        frames(tables, scratch).energies_, tables.n_mels, [to, stride](std::size_t i) { return to + i * stride; },
        n_frames);
  }
};

struct SingleStages {
  using Frame = SingleFrame<float, kFloats>;

  static Frame frame(const Tables& tables, void* scratch) { return {tables, static_cast<float*>(scratch)}; }

  static void mean(const Tables& tables, const float* samples, std::size_t, float*, std::size_t, void* scratch) {
    const Frame single = frame(tables, scratch);
    single.energies_[0] = single.mean(samples);
  }
  static void window(const Tables& tables, const float* samples, std::size_t, float*, std::size_t, void* scratch) {
    const Frame single = frame(tables, scratch);
    single.window(samples, 0);
    single.separate_even_and_odd();
  }
  static void power(const Tables& tables, const float*, std::size_t, float*, std::size_t, void* scratch) {
    const Frame single = frame(tables, scratch);
    SingleFft<float, kFloats>(tables).power_spectrum(single.real_, single.imag_, single.windowed_,
                                                     single.windowed_ + tables.half, single.power_);
  }
  static void mel(const Tables& tables, const float*, std::size_t, float*, std::size_t, void* scratch) {
    frame(tables, scratch).apply_filterbank();
  }
  static void log(const Tables& tables, const float*, std::size_t, float*, std::size_t, void* scratch) {
    frame(tables, scratch).take_log();
  }
  static void rows(const Tables& tables, const float*, std::size_t, float* to, std::size_t, void* scratch) {
    __builtin_memcpy(to, frame(tables, scratch).energies_, tables.n_mels * sizeof(float));
  }
};

template <class Stages>
benchmark::FrameStages stages_of(std::size_t width, FrameKernel<float> whole) {
  return {width,
          {{"mean", &Stages::mean},
           {"samples to lanes, pre-emphasis, window", &Stages::window},
           {"FFT, power", &Stages::power},
           {"Mel", &Stages::mel},
           {"log", &Stages::log},
           {"lanes to rows", &Stages::rows}},
          whole};
}

inline benchmark::KernelStages kernel_stages() {
  const Kernels<float> whole = kernels<float>();
  return {stages_of<GroupStages>(whole.width, whole.group), stages_of<SingleStages>(1, whole.single)};
}

}  // namespace satn::frontend::SATN_ISA
