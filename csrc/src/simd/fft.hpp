// Power spectrum of real input by a power-of-two FFT.
//
// 2M real samples are taken as M complex ones (even samples real, odd imaginary); an in-place decimation-in-frequency
// FFT of radix 4 (one radix-2 stage first where log2(M) is odd) leaves their spectrum in digit-reversed order; the
// last step separates the two halves and squares.
//
// The same arithmetic runs in two layouts: GroupFft has a number of each of several frames in a lane, SingleFft has
// several numbers of one frame. Their results are equal to the last bit.
#pragma once

#include <cstddef>

#include "../kernel.hpp"
#include "lane.hpp"
#include "transpose.hpp"

namespace satn::frontend::SATN_ISA {

template <class Lane>
struct Complex {
  Lane real;
  Lane imag;

  friend Complex operator+(Complex a, Complex b) { return {a.real + b.real, a.imag + b.imag}; }
  friend Complex operator-(Complex a, Complex b) { return {a.real - b.real, a.imag - b.imag}; }
};

// x times (cosine + i sine); the factor is one for all of the lane, or a lane itself.
template <class Lane, class Factor>
Complex<Lane> turned(Complex<Lane> x, Factor cosine, Factor sine) {
  return {multiply_subtract(x.real, cosine, x.imag * sine), multiply_add(x.real, sine, x.imag * cosine)};
}

// ---- Layouts ----

// Arrays of lanes: number j of every frame.
template <class LaneType>
struct FramesSideBySide {
  using Lane = LaneType;
  using Real = typename LaneTraits<Lane>::Real;
  using Element = Lane;
  static constexpr std::size_t step = 1;

  static Complex<Lane> at(const Element* real, const Element* imag, std::size_t j) { return {real[j], imag[j]}; }
  static void put(Element* real, Element* imag, std::size_t j, Complex<Lane> x) {
    real[j] = x.real;
    imag[j] = x.imag;
  }
  static Real factor(const Real* from) { return *from; }
};

// Arrays of plain numbers, taken a lane at a time: numbers j, j + 1, ... of one frame.
template <class LaneType>
struct NumbersSideBySide {
  using Lane = LaneType;
  using Real = typename LaneTraits<Lane>::Real;
  using Element = Real;
  static constexpr std::size_t step = LaneTraits<Lane>::width;

  static Complex<Lane> at(const Element* real, const Element* imag, std::size_t j) {
    return {load<Lane>(real + j), load<Lane>(imag + j)};
  }
  static void put(Element* real, Element* imag, std::size_t j, Complex<Lane> x) {
    store(real + j, x.real);
    store(imag + j, x.imag);
  }
  static Lane factor(const Real* from) { return load<Lane>(from); }
};

// ---- Stages ----

template <class Layout>
void radix2_stage(typename Layout::Element* real, typename Layout::Element* imag, std::size_t half,
                  const typename Layout::Real* twiddles) {
  const auto* cosine = twiddles;
  const auto* sine = twiddles + half;
  SATN_INDEPENDENT_TURNS
  for (std::size_t j = 0; j < half; j += Layout::step) {
    const auto a = Layout::at(real, imag, j);
    const auto b = Layout::at(real, imag, j + half);
    Layout::put(real, imag, j, a + b);
    Layout::put(real, imag, j + half, turned(a - b, Layout::factor(cosine + j), Layout::factor(sine + j)));
  }
}

// One butterfly's four outputs before the twiddles.
template <class Lane>
struct Butterfly {
  Complex<Lane> y0, y1, y2, y3;

  Butterfly(Complex<Lane> x0, Complex<Lane> x1, Complex<Lane> x2, Complex<Lane> x3) {
    const Complex<Lane> a = x0 + x2;
    const Complex<Lane> b = x0 - x2;
    const Complex<Lane> c = x1 + x3;
    const Complex<Lane> d = x1 - x3;
    y0 = a + c;
    y1 = {b.real + d.imag, b.imag - d.real};  // b - i d
    y2 = a - c;
    y3 = {b.real - d.imag, b.imag + d.real};  // b + i d
  }
};

template <class Layout>
Butterfly<typename Layout::Lane> butterfly(const typename Layout::Element* real, const typename Layout::Element* imag,
                                           std::size_t j, std::size_t quarter) {
  return {Layout::at(real, imag, j), Layout::at(real, imag, j + quarter), Layout::at(real, imag, j + 2 * quarter),
          Layout::at(real, imag, j + 3 * quarter)};
}

template <class Layout>
void radix4_block(typename Layout::Element* real, typename Layout::Element* imag, std::size_t quarter,
                  const typename Layout::Real* twiddles) {
  const auto* c1 = twiddles;
  const auto* s1 = c1 + quarter;
  const auto* c2 = s1 + quarter;
  const auto* s2 = c2 + quarter;
  const auto* c3 = s2 + quarter;
  const auto* s3 = c3 + quarter;
  SATN_INDEPENDENT_TURNS
  for (std::size_t j = 0; j < quarter; j += Layout::step) {
    const auto x = butterfly<Layout>(real, imag, j, quarter);
    Layout::put(real, imag, j, x.y0);
    Layout::put(real, imag, j + quarter, turned(x.y1, Layout::factor(c1 + j), Layout::factor(s1 + j)));
    Layout::put(real, imag, j + 2 * quarter, turned(x.y2, Layout::factor(c2 + j), Layout::factor(s2 + j)));
    Layout::put(real, imag, j + 3 * quarter, turned(x.y3, Layout::factor(c3 + j), Layout::factor(s3 + j)));
  }
}

// The last stage has no twiddles.
template <class Lane>
void last_radix4(Lane* real, Lane* imag) {
  using Layout = FramesSideBySide<Lane>;
  const auto x = butterfly<Layout>(real, imag, 0, 1);
  Layout::put(real, imag, 0, x.y0);
  Layout::put(real, imag, 1, x.y1);
  Layout::put(real, imag, 2, x.y2);
  Layout::put(real, imag, 3, x.y3);
}

// ---- From the complex spectrum to the real input's power ----

// FOUR TIMES the squared magnitudes: the caller has a factor to apply anyway.
template <class Lane>
struct BinPair {
  Lane low;   // bin k
  Lane high;  // bin half - k
};

// From the complex FFT's bins k and half - k; the factor is exp(-2 pi i k / size).
template <class Lane, class Factor>
BinPair<Lane> power_of_bins(Complex<Lane> x, Complex<Lane> mirrored, Factor cosine, Factor sine) {
  const Complex<Lane> even = {x.real + mirrored.real, x.imag - mirrored.imag};
  const Complex<Lane> odd = {x.imag + mirrored.imag, mirrored.real - x.real};
  const Complex<Lane> turned_odd = turned(odd, cosine, sine);
  const Complex<Lane> low = even + turned_odd;
  const Complex<Lane> high = even - turned_odd;
  return {multiply_add(low.real, low.real, low.imag * low.imag),
          multiply_add(high.real, high.real, high.imag * high.imag)};
}

// The first and the last bin, from the complex FFT's first.
template <class Lane>
BinPair<Lane> power_of_ends(Complex<Lane> first) {
  using Real = typename LaneTraits<Lane>::Real;
  const Lane sum = first.real + first.imag;
  const Lane difference = first.real - first.imag;
  return {sum * sum * Real(4), difference * difference * Real(4)};
}

// ---- Several frames ----

template <class Lane>
class GroupFft {
 public:
  using Real = typename LaneTraits<Lane>::Real;

  explicit GroupFft(const KernelTables<Real>& tables) : tables_(tables) {}

  // `real` and `imag` hold the even and the odd samples, half each, and are overwritten. Writes FOUR TIMES the
  // squared magnitude of bins 0..half to `power`.
  void power_spectrum(Lane* real, Lane* imag, Lane* power) const {
    transform(real, imag);
    split(real, imag, power);
  }

 private:
  using Layout = FramesSideBySide<Lane>;

  void transform(Lane* real, Lane* imag) const {
    const std::size_t half = tables_.half;
    const Real* twiddles = tables_.twiddles;
    std::size_t block = half;
    if (tables_.half_is_odd_power) {
      radix2_stage<Layout>(real, imag, block / 2, twiddles);
      twiddles += block;
      block /= 2;
    }
    for (; block > 4; block /= 4) {
      for (std::size_t base = 0; base < half; base += block) {
        radix4_block<Layout>(real + base, imag + base, block / 4, twiddles);
      }
      twiddles += block / 4 * 6;
    }
    for (std::size_t base = 0; base < half; base += 4) {
      last_radix4(real + base, imag + base);
    }
  }

  void split(const Lane* real, const Lane* imag, Lane* power) const {
    const std::size_t half = tables_.half;
    const BinPair<Lane> ends = power_of_ends(Layout::at(real, imag, 0));
    power[0] = ends.low;
    power[half] = ends.high;
    for (std::size_t k = 1; k <= half / 2; ++k) {
      const BinPair<Lane> pair = power_of_bins(Layout::at(real, imag, tables_.positions[k]),
                                               Layout::at(real, imag, tables_.positions[half - k]),
                                               tables_.split_real[k], tables_.split_imag[k]);
      power[k] = pair.low;
      power[half - k] = pair.high;
    }
  }

  const KernelTables<Real>& tables_;
};

// ---- One frame ----

// The first stages run over consecutive numbers. When their blocks have become small, as many blocks as a lane holds
// are transposed, and the last stages run over blocks side by side. Blocks are taken in such an order that the
// spectrum comes out in its natural one.
template <class Real, std::size_t kWidth>
class SingleFft {
 public:
  // Whether transforms of that size fill lanes of this width.
  static bool fits(std::size_t half) { return half >= kWidth * kBlock; }

  explicit SingleFft(const KernelTables<Real>& tables) : tables_(tables) {}

  // As GroupFft's, with room for the ordered spectrum, `half` numbers each.
  void power_spectrum(Real* real, Real* imag, Real* ordered_real, Real* ordered_imag, Real* power) const {
    const Real* twiddles = transform_to_blocks(real, imag);
    for (std::size_t first = 0; first < tables_.half / kBlock; first += kWidth) {
      transform_blocks(real, imag, first, twiddles, ordered_real, ordered_imag);
    }
    split(ordered_real, ordered_imag, power);
  }

 private:
  using Lane = Pack<Real, kWidth>;
  using Numbers = NumbersSideBySide<Lane>;
  using Blocks = FramesSideBySide<Lane>;
  // A stage over blocks of this size or less has less than a lane of consecutive butterflies.
  static constexpr std::size_t kBlock = kWidth > 4 ? 16 : 4;

  // Leaves independent transforms of kBlock numbers each, and returns their twiddles.
  const Real* transform_to_blocks(Real* real, Real* imag) const {
    const Real* twiddles = tables_.twiddles;
    std::size_t block = tables_.half;
    if (tables_.half_is_odd_power) {
      radix2_stage<Numbers>(real, imag, block / 2, twiddles);
      twiddles += block;
      block /= 2;
    }
    for (; block > kBlock; block /= 4) {
      for (std::size_t base = 0; base < tables_.half; base += block) {
        radix4_block<Numbers>(real + base, imag + base, block / 4, twiddles);
      }
      twiddles += block / 4 * 6;
    }
    return twiddles;
  }

  void transform_blocks(const Real* real, const Real* imag, std::size_t first, const Real* twiddles, Real* ordered_real,
                        Real* ordered_imag) const {
    Lane re[kBlock];
    Lane im[kBlock];
    gather_blocks(real, first, re);
    gather_blocks(imag, first, im);
    if constexpr (kBlock == 16) {
      radix4_block<Blocks>(re, im, 4, twiddles);
    }
    for (std::size_t base = 0; base < kBlock; base += 4) {
      last_radix4(re + base, im + base);
    }
    const std::size_t n_blocks = tables_.half / kBlock;
    for (std::size_t k = 0; k < kBlock; ++k) {
      const std::size_t position = kBlock == 16 ? k % 4 * 4 + k / 4 : k;  // digits reversed
      Numbers::put(ordered_real, ordered_imag, k * n_blocks + first, {re[position], im[position]});
    }
  }

  // Number i of blocks first, first + 1, ... to lanes[i]. A block's number is its lowest bin's.
  void gather_blocks(const Real* from, std::size_t first, Lane (&lanes)[kBlock]) const {
    for (std::size_t start = 0; start < kBlock; start += kWidth) {
      Lane numbers[kWidth];
      gather([&](std::size_t block) { return from + tables_.positions[first + block] + start; }, numbers);
      for (std::size_t i = 0; i < kWidth; ++i) {
        lanes[start + i] = numbers[i];
      }
    }
  }

  void split(const Real* real, const Real* imag, Real* power) const {
    const std::size_t half = tables_.half;
    const BinPair<Real> ends = power_of_ends(Complex<Real>{real[0], imag[0]});
    power[0] = ends.low;
    power[half] = ends.high;
    for (std::size_t k = 1; k <= half / 2; k += kWidth) {
      const std::size_t mirror = half - k - (kWidth - 1);
      const Complex<Lane> mirrored = Numbers::at(real, imag, mirror);
      const BinPair<Lane> pair =
          power_of_bins(Numbers::at(real, imag, k), Complex<Lane>{reversed(mirrored.real), reversed(mirrored.imag)},
                        Numbers::factor(tables_.split_real + k), Numbers::factor(tables_.split_imag + k));
      store(power + k, pair.low);
      store(power + mirror, reversed(pair.high));
    }
  }

  const KernelTables<Real>& tables_;
};

}  // namespace satn::frontend::SATN_ISA
