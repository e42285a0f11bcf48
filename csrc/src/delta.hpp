// Deltas and delta-deltas.
//
// HTK's regression over N frames on each side, d[t] = sum_i i (x[t+i] - x[t-i]) / (2 sum_i i^2), edge frames repeated;
// the delta-deltas are the same of the deltas. Row t can leave once row t + 2N has arrived, or the utterance ended.
#pragma once

#include <algorithm>
#include <cstddef>

#include "memory.hpp"
#include "plan.hpp"
#include "span.hpp"

namespace satn::frontend {

// The regression itself, wherever the rows are kept.
template <class Real>
class DeltaRegression {
 public:
  explicit DeltaRegression(const Plan<Real>& plan)
      : plan_(plan), reach_(static_cast<std::size_t>(plan.options().delta_window)) {
    double squares = 0.0;
    for (std::size_t i = 1; i <= reach_; ++i) {
      squares += static_cast<double>(i * i);
    }
    for (std::size_t i = 1; i <= reach_; ++i) {
      weights_[i - 1] = static_cast<Real>(static_cast<double>(i) / (2.0 * squares));
    }
  }

  std::size_t reach() const { return reach_; }

  // Deltas of row t to `out`; `row(i)` is where row i stands, `last` the utterance's last row.
  template <class Row>
  void regress(Row&& row, std::size_t t, std::size_t last, Real* out) const {
    const Real* after[kMaxDeltaWindow];
    const Real* before[kMaxDeltaWindow];
    for (std::size_t i = 1; i <= reach_; ++i) {
      after[i - 1] = row(std::min(t + i, last));
      before[i - 1] = row(t > i ? t - i : 0);
    }
    plan_.kernels().regress(after, before, weights_, reach_, plan_.n_mels(), out);
  }

 private:
  const Plan<Real>& plan_;
  std::size_t reach_;
  Real weights_[kMaxDeltaWindow] = {};
};

// Rows that arrive one by one, of which it keeps as many as the regression reaches.
template <class Real>
class DeltaFilter {
 public:
  DeltaFilter(Arena& arena, const Plan<Real>& plan)
      : regression_(plan),
        width_(plan.n_mels()),
        reach_(regression_.reach()),
        rows_(plan.options().deltas ? 2 * reach_ + 1 : 0),
        statics_(arena.take<Real>(rows_ * width_)),
        deltas_(arena.take<Real>(rows_ * width_)) {}

  void reset() { arrived_ = 0; }

  std::size_t delay() const { return 2 * reach_; }
  std::size_t arrived() const { return arrived_; }

  // Takes the next row; true if that completed one, which then stands in `out` (3 * n_mels values).
  bool push(const Real* row, Real* out) {
    std::copy(row, row + width_, at(statics_, arrived_));
    ++arrived_;
    return advance(arrived_ - 1, arrived_ - 1, out);
  }

  // Writes the rows still held, at most `delay()`, `stride` values apart, and returns how many.
  std::size_t finish(Real* out, std::size_t stride) {
    std::size_t written = 0;
    for (std::size_t i = 0; arrived_ > 0 && i < delay(); ++i) {
      if (advance(arrived_ + i, arrived_ - 1, out + written * stride)) {
        ++written;
      }
    }
    return written;
  }

 private:
  // What becomes known with row `now`, of an utterance whose last row so far is `last`.
  bool advance(std::size_t now, std::size_t last, Real* out) {
    if (now >= reach_ && now - reach_ <= last) {
      regress(statics_, now - reach_, last, at(deltas_, now - reach_));
    }
    if (now < delay()) {
      return false;
    }
    const std::size_t t = now - delay();
    const Real* row = at(statics_, t);
    const Real* delta = at(deltas_, t);
    std::copy(row, row + width_, out);
    std::copy(delta, delta + width_, out + width_);
    regress(deltas_, t, last, out + 2 * width_);
    return true;
  }

  void regress(Span<Real> ring, std::size_t t, std::size_t last, Real* out) const {
    regression_.regress([this, ring](std::size_t i) { return at(ring, i); }, t, last, out);
  }

  Real* at(Span<Real> ring, std::size_t t) const { return ring.data() + t % rows_ * width_; }

  DeltaRegression<Real> regression_;
  std::size_t width_;
  std::size_t reach_;
  std::size_t rows_;    // 2N + 1, or 0 where the plan has no deltas
  Span<Real> statics_;  // the last rows
  Span<Real> deltas_;   // the last deltas
  std::size_t arrived_ = 0;
};

}  // namespace satn::frontend
