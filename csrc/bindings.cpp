// The Python module satn_fast._frontend: arrays in, arrays out. satn_fast/frontend.py is what people import.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "isa.hpp"
#include "options.hpp"
#include "plan.hpp"
#include "python/arrays.hpp"
#include "python/option_dict.hpp"
#include "span.hpp"
#include "stream.hpp"
#include "utterance.hpp"

namespace py = pybind11;
namespace core = satn::frontend;

namespace {

using core::Options;
using core::Span;
using core::Status;
using satn::python::Empty;
using satn::python::new_array;
using satn::python::options_from;
using satn::python::Output;
using satn::python::raise;
using satn::python::to_dict;
using satn::python::values_of;
using satn::python::Waveform;
using satn::python::waveform_of;

// Half a second at 16 kHz. Letting go of the interpreter pays where several threads compute: two that push 0.5 s at a
// time get through twice as fast. For less it costs more than it gives: at 10 ms, two threads gain nothing (2.6 us
// held, 2.8 us released), and beside a thread that is busy in Python each push waits to get the interpreter back (1.7
// us held, 470 us released; Python 3.11, two server cores).
constexpr std::size_t kSamplesWorthUnlocking = 8000;

// Does the work, without the interpreter lock if there is enough of it.
template <class Work>
void run_unlocked(std::size_t n_samples, Work&& work) {
  std::optional<py::gil_scoped_release> release;
  if (n_samples >= kSamplesWorthUnlocking) {
    release.emplace();
  }
  work();
}

// Of either precision, so that Python sees one class.
class AnyStream {
 public:
  virtual ~AnyStream() = default;
  virtual py::array push(const py::handle& chunk) = 0;
  virtual py::array finish() = 0;
  virtual void reset() = 0;
};

class AnyPlan {
 public:
  virtual ~AnyPlan() = default;
  virtual const Options& options() const = 0;
  virtual const char* isa() const = 0;
  virtual std::size_t feature_count() const = 0;
  virtual std::size_t window_length() const = 0;
  virtual std::size_t hop_length() const = 0;
  virtual std::size_t empty_band_count() const = 0;
  virtual std::size_t frame_count(std::size_t n_samples) const = 0;
  virtual py::object compute(const py::object& waveform, const py::object& out) const = 0;
  virtual py::tuple batch(const py::list& waveforms, std::size_t n_threads, const py::object& out) const = 0;
  virtual std::unique_ptr<AnyStream> stream() const = 0;
};

// A second thread can come in while the first computes without the interpreter lock. The flag itself changes under it.
class InUse {
 public:
  explicit InUse(bool& in_use) : in_use_(in_use) {
    if (in_use) {
      throw std::runtime_error("the stream is in use by another thread: give each thread a stream of its own");
    }
    in_use_ = true;
  }
  ~InUse() { in_use_ = false; }
  InUse(const InUse&) = delete;
  InUse(InUse&&) = delete;
  InUse& operator=(const InUse&) = delete;
  InUse& operator=(InUse&&) = delete;

 private:
  bool& in_use_;
};

template <class Real>
class StreamOf final : public AnyStream {
 public:
  explicit StreamOf(const core::Shared<const core::Plan<Real>>& plan) {
    if (const Status status = stream_.create(plan); !status.ok()) {
      raise(status, "");
    }
  }

  py::array push(const py::handle& chunk) override {
    const Waveform waveform = waveform_of(chunk, Empty::accepted, [] { return "waveform"; });
    const InUse guard(in_use_);
    py::array rows = make_rows(stream_->push_frames(waveform.size()));
    const Span<Real> out = values_of<Real>(rows);
    Status status;
    run_unlocked(waveform.size(), [&] {
      std::size_t frames = 0;
      status = std::visit([&](auto samples) { return stream_->push(samples, out, frames); }, waveform.samples);
    });
    return checked(status, std::move(rows));
  }

  py::array finish() override {
    const InUse guard(in_use_);
    py::array rows = make_rows(stream_->finish_frames());
    std::size_t frames = 0;
    const Status status = stream_->finish(values_of<Real>(rows), frames);
    return checked(status, std::move(rows));
  }

  void reset() override {
    const InUse guard(in_use_);
    stream_->reset();
  }

 private:
  py::array make_rows(std::size_t frames) const { return new_array<Real>({frames, stream_->plan().feature_count()}); }

  static py::array checked(const Status& status, py::array rows) {
    if (!status.ok()) {
      raise(status, "waveform");
    }
    return rows;
  }

  core::Shared<core::Stream<Real>> stream_;
  bool in_use_ = false;
};

// Computes utterances of a batch until none is left; several threads share one.
template <class Real>
class BatchWork {
 public:
  BatchWork(core::Shared<const core::Plan<Real>> plan, const std::vector<Waveform>& audio, Span<Real> rows)
      : plan_(std::move(plan)),
        audio_(audio),
        rows_(rows),
        statuses_(audio.size()),
        stride_(audio.empty() ? 0 : rows.size() / audio.size()) {}

  void run(std::size_t n_threads) {
    std::vector<std::thread> helpers;
    helpers.reserve(n_threads);
    try {
      for (std::size_t i = 1; i < std::min(n_threads, audio_.size()); ++i) {
        helpers.emplace_back([this] { work(); });
      }
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch)
      // No more threads to be had: those there are, and this one, do the rest.
    }
    work();
    for (std::thread& helper : helpers) {
      helper.join();
    }
  }

  const std::vector<Status>& statuses() const { return statuses_; }

 private:
  void work() {
    core::Shared<core::UtteranceExtractor<Real>> extractor;
    const Status created = extractor.create(plan_);
    for (std::size_t i = next_++; i < audio_.size(); i = next_++) {
      if (!created.ok()) {
        statuses_[i] = created;
        continue;
      }
      const Span<Real> rows = rows_.subspan(i * stride_, stride_);
      std::size_t frames = 0;
      statuses_[i] =
          std::visit([&](auto samples) { return extractor->compute(samples, rows, frames); }, audio_[i].samples);
      std::fill(rows.begin() + frames * plan_->feature_count(), rows.end(), Real(0));
    }
  }

  core::Shared<const core::Plan<Real>> plan_;
  const std::vector<Waveform>& audio_;
  Span<Real> rows_;
  std::vector<Status> statuses_;
  std::size_t stride_;
  std::atomic<std::size_t> next_{0};
};

template <class Real>
class PlanOf final : public AnyPlan {
 public:
  PlanOf(const Options& options, core::Isa isa) {
    if (const Status status = plan_.create(options, isa); !status.ok()) {
      raise(status, "");
    }
  }

  const Options& options() const override { return plan_->options(); }
  const char* isa() const override { return core::isa_name(plan_->isa()); }
  std::size_t feature_count() const override { return plan_->feature_count(); }
  std::size_t window_length() const override { return plan_->window_length(); }
  std::size_t hop_length() const override { return plan_->hop_length(); }
  std::size_t empty_band_count() const override { return plan_->empty_band_count(); }
  std::size_t frame_count(std::size_t n_samples) const override { return plan_->frame_count(n_samples); }

  py::object compute(const py::object& audio, const py::object& out) const override {
    const Waveform waveform = waveform_of(audio, Empty::refused, [] { return "waveform"; });
    const Output<Real> output(out, {plan_->frame_count(waveform.size()), plan_->feature_count()});
    output.refuse_overlap(waveform, "waveform");
    const Span<Real> rows = output.values();
    Status status;
    run_unlocked(waveform.size(), [&] {
      core::Shared<core::UtteranceExtractor<Real>> extractor;
      status = extractor.create(plan_);
      if (status.ok()) {
        std::size_t frames = 0;
        status = std::visit([&](auto samples) { return extractor->compute(samples, rows, frames); }, waveform.samples);
      }
    });
    if (!status.ok()) {
      raise(status, "waveform");
    }
    return output.result();
  }

  py::tuple batch(const py::list& audio, std::size_t n_threads, const py::object& out) const override {
    const auto name = [](std::size_t i) { return "waveforms[" + std::to_string(i) + "]"; };
    std::vector<Waveform> waveforms;
    for (const py::handle item : audio) {
      waveforms.push_back(waveform_of(item, Empty::refused, [&] { return name(waveforms.size()); }));
    }
    const std::size_t count = waveforms.size();
    py::array_t<std::int64_t> lengths(static_cast<py::ssize_t>(count));
    std::size_t longest = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t frames = plan_->frame_count(waveforms[i].size());
      lengths.mutable_at(static_cast<py::ssize_t>(i)) = static_cast<std::int64_t>(frames);
      longest = std::max(longest, frames);
    }
    const Output<Real> output(out, {count, longest, plan_->feature_count()});
    for (std::size_t i = 0; i < count; ++i) {
      output.refuse_overlap(waveforms[i], name(i));
    }
    BatchWork<Real> work(plan_, waveforms, output.values());
    {
      const py::gil_scoped_release release;
      work.run(n_threads);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (!work.statuses()[i].ok()) {
        raise(work.statuses()[i], name(i));
      }
    }
    return py::make_tuple(output.result(), std::move(lengths));
  }

  std::unique_ptr<AnyStream> stream() const override {
    const Status status = core::Stream<Real>::check_options(plan_->options());
    if (!status.ok()) {
      raise(status, "");
    }
    return std::make_unique<StreamOf<Real>>(plan_);
  }

 private:
  core::Shared<const core::Plan<Real>> plan_;
};

std::unique_ptr<AnyPlan> make_plan(const py::dict& given) {
  const Options options = options_from(given);
  core::Isa isa = core::Isa::baseline;
  const Status status = core::choose_isa(isa);
  if (!status.ok()) {
    raise(status, "");
  }
  if (options.precision == core::Precision::float32) {
    return std::make_unique<PlanOf<float>>(options, isa);
  }
  return std::make_unique<PlanOf<double>>(options, isa);
}

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const core::Isa isa : core::kAllIsas) {
    if (core::isa_is_supported(isa)) {
      names.emplace_back(core::isa_name(isa));
    }
  }
  return names;
}

// People meet these as LogMelStream's.
constexpr const char* kPushDoc = R"(Takes the next samples, and returns the frames that they complete.

Args:
    chunk: ``(n_samples,)`` mono audio as for ``LogMel``; it may be empty, and types may change in between.

Returns:
    ``(n_frames, n_features)``, possibly no frames; float32, or float64 if that is the precision.

Raises:
    ValueError: If ``chunk`` is not mono, of another type, or not finite.
    RuntimeError: If the stream is finished and was not reset, or if another thread is using it.
)";
constexpr const char* kFinishDoc = R"(Ends the utterance, and returns the remaining frames.

The stream then refuses audio until ``reset``. A stream that was given no samples returns no frames.

Returns:
    ``(n_frames, n_features)``.

Raises:
    ValueError: If all audio together is too short to be mirrored ("center_reflect").
    RuntimeError: If the stream is finished already, or if another thread is using it.
)";
constexpr const char* kResetDoc = R"(Forgets everything, ready for the next utterance.

Raises:
    RuntimeError: If another thread is using the stream.
)";

}  // namespace

PYBIND11_MODULE(_frontend, module) {
  module.doc() = "The compiled part of satn_fast.frontend.";
  module.def("supported_isas", &supported_isas);
  module.attr("OPTION_NAMES") = py::tuple(py::list(to_dict(Options())));

  py::class_<AnyPlan>(module, "Plan")
      .def(py::init(&make_plan), py::arg("options"))
      .def("options", [](const AnyPlan& plan) { return to_dict(plan.options()); })
      .def_property_readonly("isa", &AnyPlan::isa)
      .def_property_readonly("feature_count", &AnyPlan::feature_count)
      .def_property_readonly("window_length", &AnyPlan::window_length)
      .def_property_readonly("hop_length", &AnyPlan::hop_length)
      .def_property_readonly("empty_band_count", &AnyPlan::empty_band_count)
      .def("frame_count", &AnyPlan::frame_count, py::arg("n_samples"))
      .def("compute", &AnyPlan::compute, py::arg("waveform"), py::arg("out"))
      .def("batch", &AnyPlan::batch, py::arg("waveforms"), py::arg("n_threads"), py::arg("out"));

  // The base of satn_fast.frontend.LogMelStream: what is called for every 10 ms of audio has no Python in between.
  py::class_<AnyStream>(module, "Stream")
      .def(py::init([](const AnyPlan& plan) { return plan.stream(); }), py::arg("plan"))
      .def("push", &AnyStream::push, py::arg("chunk"), kPushDoc)
      .def("finish", &AnyStream::finish, kFinishDoc)
      .def("reset", &AnyStream::reset, kResetDoc);
}
