// Features of audio that arrives in pieces, in memory that does not grow.
#pragma once

#include <cstddef>
#include <cstdint>

#include "delta.hpp"
#include "framer.hpp"
#include "memory.hpp"
#include "plan.hpp"
#include "span.hpp"
#include "status.hpp"

// What the C API hands out as a stream. Its precision says which template instance it is.
struct satn_frontend_stream {
  satn::frontend::Precision precision;
};

namespace satn::frontend {

template <class Real>
class Stream : public satn_frontend_stream, public Counted {
 public:
  // Whether the options can be computed without seeing the whole utterance.
  static Status check_options(const Options& options);

  Stream(Arena& arena, const Shared<const Plan<Real>>& plan);  // made by Shared

  const Plan<Real>& plan() const { return *plan_; }

  void reset();

  // Rows that the next push of `n_samples`, or finishing, will write.
  std::size_t push_frames(std::size_t n_samples) const;
  std::size_t finish_frames() const;

  // Both write whole rows of `feature_count` values to `rows` and set `frames`, or fail and change nothing.
  template <class Sample>
  Status push(Span<const Sample> audio, Span<Real> rows, std::size_t& frames);
  Status finish(Span<Real> rows, std::size_t& frames);

 private:
  Status check_open() const;
  Status check_room(std::size_t frames, Span<Real> rows) const;

  Shared<const Plan<Real>> plan_;
  Framer<Real> framer_;
  DeltaFilter<Real> deltas_;
  Span<Real> energies_;  // of a group of frames, where there are deltas
  bool finished_ = false;
};

extern template class Stream<float>;
#if !defined(SATN_FRONTEND_NO_FLOAT64)
extern template class Stream<double>;
#endif

}  // namespace satn::frontend
