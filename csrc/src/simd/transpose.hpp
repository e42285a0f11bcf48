// From rows in memory to lanes and back: W numbers of each of W rows are a matrix, to be transposed.
//
// Vector units move numbers freely within 16 bytes and between these at a price. So 16 bytes of several rows are loaded
// side by side, and transposed where they are.
#pragma once

#include <cstddef>

#include "lane.hpp"

namespace satn::frontend::SATN_ISA {

template <class Real>
constexpr std::size_t kNumbersIn16Bytes = 16 / sizeof(Real);

// Within each 16 bytes, the lower (kHigh = 0) or upper halves of a and b, number by number in turn.
template <class Real, std::size_t kHigh>
struct InterleavedIn16Bytes {
  static constexpr std::size_t of(std::size_t i, std::size_t width) {
    constexpr std::size_t n = kNumbersIn16Bytes<Real>;
    return i / n * n + kHigh * n / 2 + i % n / 2 + (i % 2) * width;
  }
};

// In place, the square matrix in each 16 bytes; by perfect shuffles.
template <class Real, std::size_t kWidth>
void transpose_in_16_bytes(Pack<Real, kWidth> (&rows)[kNumbersIn16Bytes<Real>]) {
  constexpr std::size_t kRows = kNumbersIn16Bytes<Real>;
  for (std::size_t round = 1; round < kRows; round *= 2) {
    Pack<Real, kWidth> next[kRows];
    for (std::size_t i = 0; i < kRows / 2; ++i) {
      next[2 * i] = shuffled<InterleavedIn16Bytes<Real, 0>>(rows[i], rows[i + kRows / 2]);
      next[2 * i + 1] = shuffled<InterleavedIn16Bytes<Real, 1>>(rows[i], rows[i + kRows / 2]);
    }
    for (std::size_t i = 0; i < kRows; ++i) {
      rows[i] = next[i];
    }
  }
}

// 16 bytes of every so manieth row, from row `first` on, that fills a lane. `row(i)` is where row i starts.
template <class Lane, class Row>
Lane load_side_by_side(Row&& row, std::size_t first) {
  using Real = typename LaneTraits<Lane>::Real;
  constexpr std::size_t kWidth = LaneTraits<Lane>::width;
  if constexpr (kWidth == kNumbersIn16Bytes<Real>) {
    return load<Lane>(row(first));
  } else {
    using Half = Pack<Real, kWidth / 2>;
    return joined(load_side_by_side<Half>(row, first), load_side_by_side<Half>(row, first + kWidth / 2));
  }
}

// lanes[n] receives number n of every row, W rows and W numbers. Inlined, or the lanes would go through memory.
template <class Real, std::size_t kWidth, class Row>
__attribute__((always_inline)) inline void gather(Row&& row, Pack<Real, kWidth> (&lanes)[kWidth]) {
  constexpr std::size_t kColumns = kNumbersIn16Bytes<Real>;
  for (std::size_t n = 0; n < kWidth; n += kColumns) {
    Pack<Real, kWidth> columns[kColumns];
    for (std::size_t i = 0; i < kColumns; ++i) {
      columns[i] = load_side_by_side<Pack<Real, kWidth>>([&row, n](std::size_t r) { return row(r) + n; }, i);
    }
    transpose_in_16_bytes(columns);
    for (std::size_t i = 0; i < kColumns; ++i) {
      lanes[n + i] = columns[i];
    }
  }
}

// The way back, for the first n_rows: lane n's numbers become number n of each row, n = 0 .. count - 1.
template <class Real, std::size_t kWidth, class Row>
void scatter(const Pack<Real, kWidth>* lanes, std::size_t count, Row&& row, std::size_t n_rows) {
  constexpr std::size_t kColumns = kNumbersIn16Bytes<Real>;
  std::size_t n = 0;
  for (; n + kColumns <= count; n += kColumns) {
    Pack<Real, kWidth> columns[kColumns];
    for (std::size_t i = 0; i < kColumns; ++i) {
      columns[i] = lanes[n + i];
    }
    transpose_in_16_bytes(columns);
    for (std::size_t r = 0; r < n_rows; ++r) {
      const auto* numbers = reinterpret_cast<const unsigned char*>(&columns[r % kColumns]);
      __builtin_memcpy(row(r) + n, numbers + r / kColumns * 16, 16);
    }
  }
  for (; n < count; ++n) {
    for (std::size_t r = 0; r < n_rows; ++r) {
      row(r)[n] = lanes[n].values[r];
    }
  }
}

// Plain numbers are lanes of one row.
template <class Real, std::size_t kCount, class Row>
void gather(Row&& row, Real (&lanes)[kCount]) {
  for (std::size_t n = 0; n < kCount; ++n) {
    lanes[n] = row(0)[n];
  }
}

template <class Real, class Row>
void scatter(const Real* lanes, std::size_t count, Row&& row, std::size_t /*n_rows*/) {
  for (std::size_t n = 0; n < count; ++n) {
    row(0)[n] = lanes[n];
  }
}

}  // namespace satn::frontend::SATN_ISA
