#include "stream.hpp"

#include <algorithm>

namespace satn::frontend {
namespace {

// Lets each row of Mel energies pass through the deltas, if there are any.
template <class Real>
class RowWriter {
 public:
  RowWriter(const Plan<Real>& plan, DeltaFilter<Real>& deltas, Real* energies, Real* out)
      : plan_(plan), deltas_(deltas), energies_(energies), out_(out) {}

  Rows<Real> place(std::size_t /*count*/) const { return {plan_.options().deltas ? energies_ : out_, plan_.n_mels()}; }

  void placed(std::size_t count) {
    if (!plan_.options().deltas) {
      out_ += count * plan_.n_mels();
      return;
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (deltas_.push(energies_ + i * plan_.n_mels(), out_)) {
        out_ += plan_.feature_count();
      }
    }
  }

  Real* out() const { return out_; }

 private:
  const Plan<Real>& plan_;
  DeltaFilter<Real>& deltas_;
  Real* energies_;  // of a group of frames, on their way into the deltas
  Real* out_;
};

std::size_t less(std::size_t a, std::size_t b) { return a > b ? a - b : 0; }

}  // namespace

template <class Real>
Status Stream<Real>::check_options(const Options& options) {
  if (options.top_db >= 0.0) {
    return Status::error(SATN_FRONTEND_ERROR_NOT_STREAMABLE,
                         "top_db is %g: it clips below the loudest frame of the whole utterance, which a stream has "
                         "not heard yet; turn it off to stream (top_db=None in Python, negative in C)",
                         options.top_db);
  }
  return {};
}

template <class Real>
Stream<Real>::Stream(Arena& arena, const Shared<const Plan<Real>>& plan)
    : satn_frontend_stream{plan->options().precision},
      plan_(plan),
      framer_(arena, *plan_),
      deltas_(arena, *plan_),
      energies_(arena.take<Real>(plan->options().deltas ? plan->kernels().width * plan->n_mels() : 0)) {}

template <class Real>
void Stream<Real>::reset() {
  framer_.reset();
  deltas_.reset();
  finished_ = false;
}

template <class Real>
std::size_t Stream<Real>::push_frames(std::size_t n_samples) const {
  const std::size_t more = framer_.push_frames(n_samples);
  if (finished_ || !plan_->options().deltas) {
    return finished_ ? 0 : more;
  }
  return less(deltas_.arrived() + more, deltas_.delay()) - less(deltas_.arrived(), deltas_.delay());
}

template <class Real>
std::size_t Stream<Real>::finish_frames() const {
  if (finished_) {
    return 0;
  }
  const std::size_t held = plan_->options().deltas ? std::min(deltas_.arrived(), deltas_.delay()) : 0;
  return held + framer_.finish_frames();
}

template <class Real>
Status Stream<Real>::check_open() const {
  return finished_
             ? Status::error(SATN_FRONTEND_ERROR_FINISHED, "the stream is finished: reset it before the next utterance")
             : Status();
}

template <class Real>
Status Stream<Real>::check_room(std::size_t frames, Span<Real> rows) const {
  const std::size_t capacity = rows.size() / plan_->feature_count();
  if (frames > capacity) {
    return Status::error(SATN_FRONTEND_ERROR_CAPACITY,
                         "%zu rows are to be written, but the output has room for %zu: offer more rows, or push "
                         "fewer samples at once",
                         frames, capacity);
  }
  return {};
}

template <class Real>
template <class Sample>
Status Stream<Real>::push(Span<const Sample> audio, Span<Real> rows, std::size_t& frames) {
  frames = 0;
  const std::size_t expected = push_frames(audio.size());
  Status status = check_open();
  if (status.ok()) {
    status = check_room(expected, rows);
  }
  if (status.ok()) {
    status = framer_.check(audio);
  }
  if (status.ok()) {
    RowWriter<Real> writer(*plan_, deltas_, energies_.data(), rows.data());
    framer_.push(audio, writer);
    frames = expected;
  }
  return status;
}

template <class Real>
Status Stream<Real>::finish(Span<Real> rows, std::size_t& frames) {
  frames = 0;
  const std::size_t expected = finish_frames();
  Status status = check_open();
  if (status.ok()) {
    status = framer_.check_finish();
  }
  if (status.ok()) {
    status = check_room(expected, rows);
  }
  if (status.ok()) {
    RowWriter<Real> writer(*plan_, deltas_, energies_.data(), rows.data());
    framer_.finish(writer);
    if (plan_->options().deltas) {
      deltas_.finish(writer.out(), plan_->feature_count());
    }
    frames = expected;
    finished_ = true;
  }
  return status;
}

template class Stream<float>;
#if !defined(SATN_FRONTEND_NO_FLOAT64)
template class Stream<double>;
#endif

#define SATN_FRONTEND_INSTANTIATE(Real, Sample) \
  template Status Stream<Real>::push(Span<const Sample>, Span<Real>, std::size_t&)
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
