// Tables of the real FFT in simd/fft.hpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace satn::frontend {

// What depends on the size only. Twiddles are scalars, whatever the lane.
template <class Real>
class FftTables {
 public:
  explicit FftTables(std::size_t size) : size_(size), half_(size / 2) {
    std::size_t block = half_;
    if (is_odd_power(half_)) {
      append_twiddles(block, 1);
      block /= 2;
    }
    for (; block > 4; block /= 4) {
      append_twiddles(block, 3);
    }
    position_.resize(half_);
    for (std::size_t k = 0; k < half_; ++k) {
      position_[k] = static_cast<std::uint32_t>(digit_reversed(k));
    }
    for (std::size_t k = 0; k <= half_ / 2; ++k) {
      split_real_.push_back(static_cast<Real>(std::cos(angle(k, size_))));
      split_imag_.push_back(static_cast<Real>(std::sin(angle(k, size_))));
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

  void append_twiddles(std::size_t block, std::size_t powers) {
    const std::size_t count = powers == 1 ? block / 2 : block / 4;
    for (std::size_t power = 1; power <= powers; ++power) {
      for (std::size_t j = 0; j < count; ++j) {
        twiddles_.push_back(static_cast<Real>(std::cos(angle(power * j, block))));
      }
      for (std::size_t j = 0; j < count; ++j) {
        twiddles_.push_back(static_cast<Real>(std::sin(angle(power * j, block))));
      }
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
  std::vector<Real> twiddles_;
  std::vector<std::uint32_t> position_;
  std::vector<Real> split_real_;
  std::vector<Real> split_imag_;
};

}  // namespace satn::frontend
