// Features of audio that arrives in pieces. Bounded memory, none of it allocated after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "delta.hpp"
#include "framer.hpp"
#include "plan.hpp"
#include "span.hpp"
#include "status.hpp"

namespace satn::frontend {

template <class Real>
class Stream {
 public:
  // Whether the options can be computed without seeing the whole utterance.
  static Status check_options(const Options& options);

  explicit Stream(std::shared_ptr<const Plan<Real>> plan);

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

  std::shared_ptr<const Plan<Real>> plan_;
  Framer<Real> framer_;
  DeltaFilter<Real> deltas_;
  std::vector<Real> energies_;  // of a group of frames
  bool finished_ = false;
};

extern template class Stream<float>;
extern template class Stream<double>;

}  // namespace satn::frontend
