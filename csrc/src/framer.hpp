// Cuts audio that arrives in pieces into frames, pads its ends, and has them computed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernel.hpp"
#include "memory.hpp"
#include "plan.hpp"
#include "span.hpp"
#include "status.hpp"

namespace satn::frontend {

// Where rows of energies are to be written.
template <class Real>
struct Rows {
  Real* first;
  std::size_t stride;
};

// Positions are counted from the start of the left padding, so that frame t covers [t * hop, t * hop + window) and
// sample n stands at n + left_padding. The buffer holds positions [begin_, end_). They are 64-bit on any machine: 32
// bits of samples last three days.
template <class Real>
class Framer {
 public:
  Framer(Arena& arena, const Plan<Real>& plan)
      : plan_(plan),
        width_(plan.kernels().width),
        scratch_(arena.take<unsigned char>(plan.kernels().scratch_bytes(plan.tables()))),
        buffer_(arena.take<Real>(plan.left_padding() + end_room(plan) + plan.window_length() +
                                 2 * width_ * plan.hop_length())) {
    if (!arena.measures()) {
      reset();
    }
  }

  Framer(const Framer&) = delete;
  Framer(Framer&&) = delete;
  Framer& operator=(const Framer&) = delete;
  Framer& operator=(Framer&&) = delete;
  ~Framer() = default;

  void reset() {
    samples_ = 0;
    next_frame_ = 0;
    previous_ = 0;
    begin_ = 0;
    end_ = plan_.left_padding();
    std::fill_n(buffer_.begin(), plan_.left_padding(), Real(0));
  }

  // Frames that `more` samples would complete, without ending the utterance.
  std::size_t push_frames(std::size_t more) const {
    return static_cast<std::size_t>(complete_frames(samples_ + more) - next_frame_);
  }

  // Frames that ending the utterance now would add.
  std::size_t finish_frames() const {
    const Position total = plan_.frame_count(samples_);
    return total > next_frame_ ? static_cast<std::size_t>(total - next_frame_) : 0;
  }

  // Refuses what would poison the features, and names the first such sample.
  template <class Sample>
  Status check(Span<const Sample> audio) const {
    if constexpr (std::is_integral_v<Sample>) {
      if (std::abs(plan_.scale(audio.data())) * 32768.0 <= static_cast<double>(plan_.largest_sample())) {
        return {};
      }
    }
    const double factor = plan_.scale(audio.data());
    if (!kernels(audio).fit(audio.data(), audio.size(), factor, plan_.largest_sample())) {
      return name_bad_sample(audio, factor);
    }
    return {};
  }

  // Takes checked samples. The n_mels energies of each frame go, in order, where `sink.place(count)` says, a Rows for
  // at most plan.kernels().width of them; `sink.placed(count)` follows.
  template <class Sample, class Sink>
  void push(Span<const Sample> audio, Sink& sink) {
    const double scale = plan_.scale(audio.data());
    std::size_t done = 0;
    while (done < audio.size()) {
      if (begin_ <= end_ && room() < audio.size() - done) {
        make_room();
      }
      if (begin_ > end_) {  // a hop longer than the window: some samples belong to no frame
        const auto gap = static_cast<std::size_t>(std::min<Position>(begin_ - end_, audio.size() - done));
        previous_ = kernels(audio).scaled(audio[done + gap - 1], scale);
        end_ += gap;
        samples_ += gap;
        done += gap;
        continue;
      }
      const std::size_t count = std::min(audio.size() - done, room());
      append(audio.subspan(done, count), scale);
      done += count;
      // While more is to come, frames wait for a full group.
      const std::size_t ready = push_frames(0);
      compute(done < audio.size() ? ready / width_ * width_ : ready, sink);
    }
  }

  // SATN_FRONTEND_ERROR_AUDIO, and nothing changed, where the utterance is too short to be mirrored.
  Status check_finish() const { return samples_ > 0 ? plan_.check_length(samples_) : Status(); }

  // Pads the end and emits the remaining frames. Call `reset` before the next push.
  template <class Sink>
  void finish(Sink& sink) {
    const std::size_t remaining = finish_frames();
    if (remaining == 0) {
      return;
    }
    make_room();
    const Position audio_end = end_;
    const Position needed = (next_frame_ + remaining - 1) * plan_.hop_length() + plan_.window_length();
    for (end_ = std::max(end_, begin_); end_ < needed; ++end_) {
      at(end_) = plan_.reflects() ? at(2 * audio_end - 2 - end_) : Real(0);
    }
    compute(remaining, sink);
  }

 private:
  using Position = std::uint64_t;

  // What padding and mirroring the end may take.
  static std::size_t end_room(const Plan<Real>& plan) {
    const bool pads = plan.options().framing != Framing::snip_edges;
    return pads ? std::max(plan.window_length(), plan.least_samples()) : 0;
  }

  std::size_t held() const { return static_cast<std::size_t>(end_ - begin_); }
  std::size_t room() const { return buffer_.size() - held(); }
  Real& at(Position position) { return buffer_[static_cast<std::size_t>(position - begin_)]; }

  template <class Sample>
  const SampleKernels<Real, Sample>& kernels(Span<const Sample> audio) const {
    return plan_.kernels().samples(audio.data());
  }

  template <class Sample>
  Status name_bad_sample(Span<const Sample> audio, double factor) const {
    std::size_t i = 0;
    while (i + 1 < audio.size() && std::abs(kernels(audio).scaled(audio[i], factor)) <= plan_.largest_sample()) {
      ++i;
    }
    const auto value = static_cast<double>(audio[i]);
    return Status::error(SATN_FRONTEND_ERROR_NOT_FINITE,
                         std::isfinite(value)
                             ? "sample %zu is %g, so large that its power overflows: scale the audio to +-1"
                             : "sample %zu is %g: the audio must be finite; repair or drop the damaged part",
                         i, value);
  }

  // Frames whose samples are all there, left padding included.
  Position complete_frames(Position n_samples) const {
    const Position end = n_samples + plan_.left_padding();
    if (n_samples < plan_.least_samples() || end < plan_.window_length()) {
      return next_frame_;
    }
    return std::max<Position>(next_frame_, 1 + (end - plan_.window_length()) / plan_.hop_length());
  }

  // Drops what no frame to come needs: neither its own samples, nor the mirror image at the end.
  void make_room() {
    Position keep_from = next_frame_ * plan_.hop_length();
    if (plan_.reflects()) {
      const Position mirrored = plan_.window_length() + 1;
      keep_from = std::min(keep_from, end_ > mirrored ? end_ - mirrored : 0);
    }
    if (keep_from <= begin_) {
      return;
    }
    if (keep_from < end_) {
      std::copy(&at(keep_from), buffer_.data() + held(), buffer_.data());
    }
    begin_ = keep_from;
  }

  template <class Sample>
  void append(Span<const Sample> audio, double scale) {
    Real* to = &at(end_);
    kernels(audio).scale(audio.data(), audio.size(), scale, to);
    if (plan_.options().preemphasis_mode == PreemphasisMode::signal && plan_.options().preemphasis > 0.0) {
      const Real rest = static_cast<Real>(1.0 - plan_.options().preemphasis);  // as within frames
      for (std::size_t i = 0; i < audio.size(); ++i) {
        const Real x = to[i];
        to[i] = (x - previous_) + rest * previous_;  // previous_ starts as 0
        previous_ = x;
      }
    }
    end_ += audio.size();
    const bool could_not_mirror = samples_ < plan_.least_samples();
    samples_ += audio.size();
    if (plan_.reflects() && could_not_mirror && samples_ >= plan_.least_samples()) {
      const std::size_t first = plan_.left_padding();
      for (std::size_t i = 1; i <= first; ++i) {
        at(first - i) = at(first + i);
      }
    }
  }

  template <class Sink>
  void compute(std::size_t frames, Sink& sink) {
    while (frames > 0) {
      if (is_quicker_as_group(frames) && !group_fits()) {
        make_room();
      }
      const bool as_group = is_quicker_as_group(frames) && group_fits();
      const std::size_t count = as_group ? std::min(frames, width_) : 1;
      const FrameKernel<Real> kernel = as_group ? plan_.kernels().group : plan_.kernels().single;
      const auto [rows, stride] = sink.place(count);
      kernel(plan_.tables(), &at(next_frame_ * plan_.hop_length()), count, rows, stride, scratch_.data());
      next_frame_ += count;
      frames -= count;
      sink.placed(count);
    }
  }

  // A group costs the same however few of its frames are wanted, about 0.7 of what as many single frames cost.
  bool is_quicker_as_group(std::size_t frames) const { return 10 * frames > 7 * width_; }

  // What a group has too many are frames of stale samples, whose rows nobody reads; they must lie inside the buffer.
  bool group_fits() const {
    const auto start = static_cast<std::size_t>(next_frame_ * plan_.hop_length() - begin_);
    return start + (width_ - 1) * plan_.hop_length() + plan_.window_length() <= buffer_.size();
  }

  const Plan<Real>& plan_;
  std::size_t width_;  // frames of a group
  Span<unsigned char> scratch_;
  Span<Real> buffer_;
  Position samples_ = 0;  // taken so far
  Position next_frame_ = 0;
  Position begin_ = 0;
  Position end_ = 0;
  Real previous_ = 0;  // the last sample taken, for pre-emphasis over the signal
};

}  // namespace satn::frontend
