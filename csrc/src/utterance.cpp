#include "utterance.hpp"

#include <algorithm>
#include <cstdint>

namespace satn::frontend {
namespace {

// An utterance's rows. The energies are written where they belong, and the deltas follow in place, close behind: what
// they read is still in the cache.
template <class Real>
class UtteranceRows {
 public:
  UtteranceRows(const Plan<Real>& plan, const DeltaRegression<Real>& deltas, Real* rows, std::size_t frames)
      : options_(plan.options()),
        deltas_(deltas),
        n_mels_(plan.n_mels()),
        stride_(plan.feature_count()),
        rows_(rows),
        frames_(frames) {}

  Rows<Real> place(std::size_t /*count*/) const { return {row(written_), stride_}; }

  void placed(std::size_t count) {
    written_ += count;
    if (!is_clipped()) {
      append_deltas();
    }
  }

  void finish() {
    if (is_clipped()) {
      clip();
      append_deltas();
    }
  }

 private:
  bool is_clipped() const { return options_.top_db >= 0.0; }
  Real* row(std::size_t t) const { return rows_ + t * stride_; }

  // librosa's top_db: nothing below the utterance's maximum less that much.
  void clip() {
    Real highest = frames_ > 0 ? *rows_ : Real(0);
    for (std::size_t t = 0; t < frames_; ++t) {
      highest = std::max(highest, *std::max_element(row(t), row(t) + n_mels_));
    }
    const Real least = highest - static_cast<Real>(options_.top_db);
    for (std::size_t t = 0; t < frames_; ++t) {
      std::transform(row(t), row(t) + n_mels_, row(t), [least](Real energy) { return std::max(energy, least); });
    }
  }

  // As far as the rows that are there allow. A row's delta-deltas follow its deltas at the distance they look ahead.
  void append_deltas() {
    const std::size_t reach = deltas_.reach();
    const std::size_t end = options_.deltas && frames_ > 0 ? frames_ + reach : 0;
    for (; next_ < end && (written_ == frames_ || next_ + reach < written_); ++next_) {
      if (next_ < frames_) {
        regress(next_, 0);
      }
      if (next_ >= reach) {
        regress(next_ - reach, n_mels_);
      }
    }
  }

  // The deltas of row t's numbers from `column` on, written n_mels further right.
  void regress(std::size_t t, std::size_t column) const {
    deltas_.regress([this, column](std::size_t other) { return row(other) + column; }, t, frames_ - 1,
                    row(t) + column + n_mels_);
  }

  const Options& options_;
  const DeltaRegression<Real>& deltas_;
  std::size_t n_mels_;
  std::size_t stride_;
  Real* rows_;
  std::size_t frames_;
  std::size_t written_ = 0;
  std::size_t next_ = 0;  // row whose deltas are to be computed
};

}  // namespace

template <class Real>
UtteranceExtractor<Real>::UtteranceExtractor(Arena& arena, const Shared<const Plan<Real>>& plan)
    : plan_(plan), framer_(arena, *plan_), deltas_(*plan_) {}

template <class Real>
template <class Sample>
Status UtteranceExtractor<Real>::compute(Span<const Sample> audio, Span<Real> rows, std::size_t& frames) {
  frames = 0;
  const Status status = check(audio, rows);
  if (!status.ok()) {
    return status;
  }
  const auto count = static_cast<std::size_t>(plan_->frame_count(audio.size()));
  UtteranceRows<Real> sink(*plan_, deltas_, rows.data(), count);
  framer_.reset();
  framer_.push(audio, sink);
  framer_.finish(sink);
  sink.finish();
  frames = count;
  return status;
}

template <class Real>
template <class Sample>
Status UtteranceExtractor<Real>::check(Span<const Sample> audio, Span<Real> rows) const {
  const auto count = static_cast<std::size_t>(plan_->frame_count(audio.size()));
  const std::size_t capacity = rows.size() / plan_->feature_count();
  if (audio.size() == 0) {
    return Status::error(SATN_FRONTEND_ERROR_AUDIO, "the audio is empty: give at least one sample");
  }
  if (const Status status = plan_->check_length(audio.size()); !status.ok()) {
    return status;
  }
  if (count > capacity) {
    return Status::error(SATN_FRONTEND_ERROR_CAPACITY,
                         "%zu rows are to be written, but the output has room for %zu: offer more rows", count,
                         capacity);
  }
  return framer_.check(audio);
}

template class UtteranceExtractor<float>;
#if !defined(SATN_FRONTEND_NO_FLOAT64)
template class UtteranceExtractor<double>;
#endif

#define SATN_FRONTEND_INSTANTIATE(Real, Sample) \
  template Status UtteranceExtractor<Real>::compute(Span<const Sample>, Span<Real>, std::size_t&)
SATN_FRONTEND_INSTANTIATE(float, float);
SATN_FRONTEND_INSTANTIATE(float, double);
SATN_FRONTEND_INSTANTIATE(float, std::int16_t);
#if !defined(SATN_FRONTEND_NO_FLOAT64)
SATN_FRONTEND_INSTANTIATE(double, float);
SATN_FRONTEND_INSTANTIATE(double, double);
SATN_FRONTEND_INSTANTIATE(double, std::int16_t);
#endif
#undef SATN_FRONTEND_INSTANTIATE

}  // namespace satn::frontend
