// Tables of the real FFT in simd/fft.hpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "memory.hpp"
#include "span.hpp"

namespace satn::frontend {

// What depends on the size only. Twiddles are scalars, whatever the lane.
template <class Real>
class FftTables {
 public:
  FftTables(Arena& arena, std::size_t size)
      : size_(size),
        half_(size / 2),
        twiddles_(arena.take<Real>(twiddle_count())),
        position_(arena.take<std::uint32_t>(half_)),
        split_real_(arena.take<Real>(half_ / 2 + 1)),
        split_imag_(arena.take<Real>(half_ / 2 + 1)) {
    if (!arena.measures()) {
      compute();
    }
  }

  std::size_t size() const { return size_; }
  std::size_t half() const { return half_; }
  // Stage by stage: for powers 1..radix-1 of the stage's root, all real parts, then all imaginary parts.
  const Real* twiddles() const { return twiddles_.data(); }
  // Where the complex FFT leaves bin k.
  const std::uint32_t* positions() const { return position_.data(); }
  // exp(-2 pi i k / size), k = 0 .. half / 2.
  const Real* split_real() const { return split_real_.data(); }
  const Real* split_imag() const { return split_imag_.data(); }

  static bool is_odd_power(std::size_t n) {
    bool odd = false;
    for (; n > 1; n /= 2) {
      odd = !odd;
    }
    return odd;
  }

 private:
  static double angle(std::size_t k, std::size_t n) {
    constexpr double kMinusTwoPi = -6.283185307179586476925286766559;
    return kMinusTwoPi * static_cast<double>(k) / static_cast<double>(n);
  }

  // use(block, radix) for every stage that has twiddles.
  template <class Use>
  void for_each_stage(Use&& use) const {
    std::size_t block = half_;
    if (is_odd_power(half_)) {
      use(block, std::size_t{2});
      block /= 2;
    }
    for (; block > 4; block /= 4) {
      use(block, std::size_t{4});
    }
  }

  std::size_t twiddle_count() const {
    std::size_t count = 0;
    for_each_stage([&count](std::size_t block, std::size_t radix) { count += 2 * (radix - 1) * (block / radix); });
    return count;
  }

  void compute() {
    Real* next = twiddles_.data();
    for_each_stage([&next](std::size_t block, std::size_t radix) {
      const std::size_t count = block / radix;
      for (std::size_t power = 1; power < radix; ++power) {
        for (std::size_t j = 0; j < count; ++j) {
          next[j] = static_cast<Real>(std::cos(angle(power * j, block)));
          next[count + j] = static_cast<Real>(std::sin(angle(power * j, block)));
        }
        next += 2 * count;
      }
    });
    for (std::size_t k = 0; k < half_; ++k) {
      position_[k] = static_cast<std::uint32_t>(digit_reversed(k));
    }
    for (std::size_t k = 0; k <= half_ / 2; ++k) {
      split_real_[k] = static_cast<Real>(std::cos(angle(k, size_)));
      split_imag_[k] = static_cast<Real>(std::sin(angle(k, size_)));
    }
  }

  std::size_t digit_reversed(std::size_t k) const {
    std::size_t block = half_;
    std::size_t position = 0;
    if (is_odd_power(half_)) {
      block /= 2;
      position += (k % 2) * block;
      k /= 2;
    }
    while (block > 1) {
      block /= 4;
      position += (k % 4) * block;
      k /= 4;
    }
    return position;
  }

  std::size_t size_;
  std::size_t half_;
  Span<Real> twiddles_;
  Span<std::uint32_t> position_;
  Span<Real> split_real_;
  Span<Real> split_imag_;
};

}  // namespace satn::frontend
