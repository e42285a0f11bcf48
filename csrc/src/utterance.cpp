#include "utterance.hpp"

#include <algorithm>
#include <cstdint>

namespace satn::frontend {
namespace {

// Rows one after the other, with room for the deltas behind each.
template <class Real>
class StridedRows {
 public:
  StridedRows(Real* out, std::size_t stride) : out_(out), stride_(stride) {}

  Rows<Real> place(std::size_t /*count*/) const { return {out_, stride_}; }
  void placed(std::size_t count) { out_ += count * stride_; }

 private:
  Real* out_;
  std::size_t stride_;
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
  // The energies go where they belong in each row; what is relative to the utterance and the deltas follow in place.
  StridedRows<Real> sink(rows.data(), plan_->feature_count());
  framer_.reset();
  framer_.push(audio, sink);
  framer_.finish(sink);

  const auto count = static_cast<std::size_t>(plan_->frame_count(audio.size()));
  if (plan_->options().top_db >= 0.0) {
    clip(rows.data(), count);
  }
  if (plan_->options().deltas) {
    append_deltas(rows.data(), count);
  }
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

// librosa's top_db: nothing below the utterance's maximum less that much.
template <class Real>
void UtteranceExtractor<Real>::clip(Real* rows, std::size_t frames) const {
  const std::size_t n_mels = plan_->n_mels();
  const std::size_t stride = plan_->feature_count();
  Real highest = frames > 0 ? rows[0] : Real(0);
  for (std::size_t t = 0; t < frames; ++t) {
    highest = std::max(highest, *std::max_element(rows + t * stride, rows + t * stride + n_mels));
  }
  const Real least = highest - static_cast<Real>(plan_->options().top_db);
  for (std::size_t t = 0; t < frames; ++t) {
    for (std::size_t k = 0; k < n_mels; ++k) {
      rows[t * stride + k] = std::max(rows[t * stride + k], least);
    }
  }
}

template <class Real>
void UtteranceExtractor<Real>::append_deltas(Real* rows, std::size_t frames) const {
  // Delta-deltas follow the deltas at the distance that they look ahead, so that what they read is still in the cache.
  const auto reach = static_cast<std::size_t>(plan_->options().delta_window);
  for (std::size_t t = 0; t < frames + reach; ++t) {
    if (t < frames) {
      regress_row(rows, frames, t, 0);
    }
    if (t >= reach) {
      regress_row(rows, frames, t - reach, plan_->n_mels());
    }
  }
}

template <class Real>
void UtteranceExtractor<Real>::regress_row(Real* rows, std::size_t frames, std::size_t t, std::size_t column) const {
  const std::size_t stride = plan_->feature_count();
  deltas_.regress([rows, stride, column](std::size_t row) { return rows + row * stride + column; }, t, frames - 1,
                  rows + t * stride + column + plan_->n_mels());
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
