// Features of whole utterances, one after the other; one object per thread.
#pragma once

#include <cstddef>

#include "delta.hpp"
#include "framer.hpp"
#include "memory.hpp"
#include "plan.hpp"
#include "span.hpp"
#include "status.hpp"

namespace satn::frontend {

template <class Real>
class UtteranceExtractor : public Counted {
 public:
  UtteranceExtractor(Arena& arena, const Shared<const Plan<Real>>& plan);  // made by Shared

  // Writes plan.frame_count(audio.size()) rows and sets `frames`, or fails and changes nothing.
  template <class Sample>
  Status compute(Span<const Sample> audio, Span<Real> rows, std::size_t& frames);

 private:
  template <class Sample>
  Status check(Span<const Sample> audio, Span<Real> rows) const;

  Shared<const Plan<Real>> plan_;
  Framer<Real> framer_;
  DeltaRegression<Real> deltas_;
};

extern template class UtteranceExtractor<float>;
#if !defined(SATN_FRONTEND_NO_FLOAT64)
extern template class UtteranceExtractor<double>;
#endif

}  // namespace satn::frontend
