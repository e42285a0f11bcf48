// A lane holds one number of each of several frames that are computed side by side.
//
// Everything between the samples and the Mel energies is written once, over a lane type: a plain float or double (one
// frame at a time) or a Pack (several). A lane type offers +, - and * with lanes and with scalars, element by element
// and without reordering, so that a frame's features do not depend on the frames computed beside it, nor on the width.
// A wider Pack is all that another instruction set needs.
#pragma once

#include <cstddef>

namespace satn::frontend {

#if defined(__GNUC__)

// 16 bytes are one register of every x86-64 and of every 64-bit ARM.
template <class Real, std::size_t kWidth>
struct Pack {
  typedef Real Vector __attribute__((vector_size(kWidth * sizeof(Real))));
  Vector values;

  friend Pack operator+(Pack a, Pack b) { return {a.values + b.values}; }
  friend Pack operator-(Pack a, Pack b) { return {a.values - b.values}; }
  friend Pack operator*(Pack a, Pack b) { return {a.values * b.values}; }
  friend Pack operator*(Pack a, Real b) { return {a.values * b}; }
};

template <class Real>
using WidestLane = Pack<Real, 16 / sizeof(Real)>;

#else

template <class Real>
using WidestLane = Real;

#endif

template <class Lane>
struct LaneTraits {
  using Real = Lane;
  static constexpr std::size_t width = 1;

  static Lane zero() { return Lane(0); }
  // One value of each frame: frame i's stands at from[i * stride].
  static Lane gather(const Real* from, std::size_t /*stride*/) { return *from; }
  static Real get(const Lane& lane, std::size_t /*frame*/) { return lane; }
};

#if defined(__GNUC__)

template <class RealType, std::size_t kWidth>
struct LaneTraits<Pack<RealType, kWidth>> {
  using Real = RealType;
  using Lane = Pack<RealType, kWidth>;
  static constexpr std::size_t width = kWidth;

  static Lane zero() { return {typename Lane::Vector{}}; }
  static Lane gather(const Real* from, std::size_t stride) {
    Lane lane = zero();
    for (std::size_t i = 0; i < kWidth; ++i) {
      lane.values[i] = from[i * stride];
    }
    return lane;
  }
  static Real get(const Lane& lane, std::size_t frame) { return lane.values[frame]; }
};

#endif

}  // namespace satn::frontend
