// The Python module satn_fast._frontend: arrays in, arrays out. satn_fast/frontend.py is what people import.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "isa.hpp"
#include "options.hpp"
#include "plan.hpp"
#include "span.hpp"
#include "stream.hpp"
#include "utterance.hpp"

namespace py = pybind11;
namespace core = satn::frontend;

namespace {

using core::Options;
using core::Span;
using core::Status;

// ---- Options as a dictionary ----------------------------------------------------------------------------------------

// The names of an enumeration's values, in order.
template <class Enum>
std::vector<const char*> names();
template <>
std::vector<const char*> names<core::Preset>() {
  return {"kaldi", "kaldi-hamming", "htk", "psf", "torchaudio", "librosa"};
}
template <>
std::vector<const char*> names<core::Precision>() {
  return {"float32", "float64"};
}
template <>
std::vector<const char*> names<core::Window>() {
  return {"povey", "hamming", "hamming_periodic", "hann", "hann_periodic", "rectangular"};
}
template <>
std::vector<const char*> names<core::Framing>() {
  return {"snip_edges", "pad_end", "center_zero", "center_reflect"};
}
template <>
std::vector<const char*> names<core::SampleRounding>() {
  return {"down", "nearest"};
}
template <>
std::vector<const char*> names<core::PreemphasisMode>() {
  return {"frame", "signal"};
}
template <>
std::vector<const char*> names<core::MelScale>() {
  return {"htk", "slaney"};
}
template <>
std::vector<const char*> names<core::Filters>() {
  return {"mel", "hz", "bins"};
}
template <>
std::vector<const char*> names<core::FilterNorm>() {
  return {"none", "slaney"};
}
template <>
std::vector<const char*> names<core::PowerNorm>() {
  return {"none", "fft_size"};
}
template <>
std::vector<const char*> names<core::Log>() {
  return {"ln", "log10", "db", "none"};
}
template <>
std::vector<const char*> names<core::FloorMode>() {
  return {"clamp", "zero"};
}

// Every field, with the name it has in satn_frontend.h.
template <class AnyOptions, class Visit>
void for_each_field(AnyOptions& o, Visit&& visit) {
  visit("sample_rate", o.sample_rate);
  visit("n_mels", o.n_mels);
  visit("preset", o.preset);
  visit("precision", o.precision);
  visit("window_seconds", o.window_seconds);
  visit("hop_seconds", o.hop_seconds);
  visit("sample_rounding", o.sample_rounding);
  visit("fft_size", o.fft_size);
  visit("window", o.window);
  visit("framing", o.framing);
  visit("remove_dc", o.remove_dc);
  visit("preemphasis", o.preemphasis);
  visit("preemphasis_mode", o.preemphasis_mode);
  visit("low_hz", o.low_hz);
  visit("high_hz", o.high_hz);
  visit("mel_scale", o.mel_scale);
  visit("filters", o.filters);
  visit("filter_norm", o.filter_norm);
  visit("power_norm", o.power_norm);
  visit("log", o.log);
  visit("floor", o.floor);
  visit("floor_mode", o.floor_mode);
  visit("top_db", o.top_db);
  visit("float_scale", o.float_scale);
  visit("int16_scale", o.int16_scale);
  visit("deltas", o.deltas);
  visit("delta_window", o.delta_window);
}

[[noreturn]] void refuse(const std::string& name, const py::handle& value, const std::string& remedy) {
  throw py::value_error(name + " is " + std::string(py::repr(value)) + ", but must be " + remedy);
}

void read(const char* name, const py::handle& value, bool& field) {
  // numpy's bool, whose name is bool_ before numpy 2, is as good as Python's.
  const std::string type = py::str(py::type::of(value).attr("__name__"));
  if (type != "bool" && type != "bool_") {
    refuse(name, value, "True or False");
  }
  field = value.cast<bool>();
}

void read(const char* name, const py::handle& value, std::int32_t& field) {
  const py::object index =
      py::isinstance<py::bool_>(value) ? py::object() : py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  const long long number = index ? PyLong_AsLongLong(index.ptr()) : 0;
  if (!index || PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    refuse(name, value, "a whole number");
  }
  if (number < std::numeric_limits<std::int32_t>::min() || number > std::numeric_limits<std::int32_t>::max()) {
    refuse(name, value, "a whole number of 32 bits");
  }
  field = static_cast<std::int32_t>(number);
}

void read(const char* name, const py::handle& value, double& field) {
  const double number =
      py::isinstance<py::bool_>(value) || py::isinstance<py::str>(value) ? -1.0 : PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() != nullptr || py::isinstance<py::bool_>(value) || py::isinstance<py::str>(value)) {
    PyErr_Clear();
    refuse(name, value, "a number");
  }
  field = number;
}

template <class Enum, class = std::enable_if_t<std::is_enum_v<Enum>>>
void read(const char* name, const py::handle& value, Enum& field) {
  std::string known;
  const std::vector<const char*> all = names<Enum>();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (py::isinstance<py::str>(value) && value.cast<std::string>() == all[i]) {
      field = static_cast<Enum>(i);
      return;
    }
    known += (i == 0 ? "one of '" : ", '") + std::string(all[i]) + "'";
  }
  refuse(name, value, known);
}

// None means "choose for me", or "off".
template <class Field>
void read_or_none(const char* name, const py::handle& value, Field& field) {
  if (!value.is_none()) {
    read(name, value, field);
  } else if constexpr (std::is_same_v<Field, double> || std::is_same_v<Field, std::int32_t>) {
    if (std::string(name) == "top_db") {
      field = static_cast<Field>(-1);
    } else if (std::string(name) == "high_hz" || std::string(name) == "fft_size") {
      field = static_cast<Field>(0);
    } else {
      refuse(name, value, "a number");
    }
  } else {
    read(name, value, field);
  }
}

template <class Field>
py::object write(const char* name, const Field& field) {
  if constexpr (std::is_enum_v<Field>) {
    return py::str(names<Field>()[static_cast<std::size_t>(field)]);
  } else if constexpr (std::is_same_v<Field, double>) {
    return std::string(name) == "top_db" && field < 0 ? py::object(py::none()) : py::cast(field);
  } else {
    return py::cast(field);
  }
}

py::dict to_dict(const Options& options) {
  py::dict result;
  for_each_field(options, [&result](const char* name, const auto& field) { result[name] = write(name, field); });
  return result;
}

[[noreturn]] void raise(const Status& status, const std::string& name) {
  const std::string message = name.empty() ? status.message() : name + ": " + status.message();
  switch (status.code()) {
    case SATN_FRONTEND_ERROR_FINISHED:
      throw std::runtime_error(message);
    case SATN_FRONTEND_ERROR_MEMORY:
      throw std::bad_alloc();
    default:
      throw py::value_error(message);
  }
}

Options preset_options(const py::object& preset, const py::object& sample_rate, const py::object& n_mels) {
  Options options;
  core::Preset chosen{};
  std::int32_t rate = 0;
  std::int32_t bands = 0;
  read("preset", preset, chosen);
  read("sample_rate", sample_rate, rate);
  read("n_mels", n_mels, bands);
  const Status status = core::preset_options(static_cast<std::int32_t>(chosen), rate, bands, options);
  if (!status.ok()) {
    raise(status, "");
  }
  return options;
}

// The preset that `given` names, with every other entry of `given` applied to it.
Options options_from(const py::dict& given) {
  Options options = preset_options(given["preset"], given["sample_rate"], given["n_mels"]);
  for_each_field(options, [&given](const char* name, auto& field) {
    if (given.contains(name)) {
      read_or_none(name, given[name], field);
    }
  });
  const Status status = core::resolve(options);
  if (!status.ok()) {
    raise(status, "");
  }
  return options;
}

// ---- Audio ----------------------------------------------------------------------------------------------------------

using Audio = std::variant<Span<const float>, Span<const double>, Span<const std::int16_t>>;

template <class Sample>
Span<const Sample> span_of(const py::array& array) {
  return {static_cast<const Sample*>(array.data()), static_cast<std::size_t>(array.size())};
}

// frontend.py hands over nothing else; this keeps a mistake there from becoming a wrong read here.
Audio audio_of(const py::array& array) {
  if (array.ndim() == 1 && (array.flags() & py::array::c_style) != 0) {
    if (py::isinstance<py::array_t<float>>(array)) {
      return span_of<float>(array);
    }
    if (py::isinstance<py::array_t<double>>(array)) {
      return span_of<double>(array);
    }
    if (py::isinstance<py::array_t<std::int16_t>>(array)) {
      return span_of<std::int16_t>(array);
    }
  }
  throw py::value_error("audio must be a contiguous 1-D array of float32, float64 or int16");
}

std::size_t size_of(const Audio& audio) {
  return std::visit([](const auto& samples) { return samples.size(); }, audio);
}

// ---- Plan and stream ------------------------------------------------------------------------------------------------

template <class Real>
Span<Real> rows_of(py::array_t<Real>& array) {
  return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

// Of either precision, so that Python sees one class.
class AnyStream {
 public:
  virtual ~AnyStream() = default;
  virtual py::array push(const py::array& waveform) = 0;
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
  virtual py::array compute(const py::array& waveform) const = 0;
  virtual py::tuple batch(const std::vector<py::array>& waveforms, std::size_t n_threads) const = 0;
  virtual std::unique_ptr<AnyStream> stream() const = 0;
};

template <class Real>
class StreamOf final : public AnyStream {
 public:
  explicit StreamOf(const core::Shared<const core::Plan<Real>>& plan) {
    if (const Status status = stream_.create(plan); !status.ok()) {
      raise(status, "");
    }
  }

  py::array push(const py::array& waveform) override {
    const Audio audio = audio_of(waveform);
    py::array_t<Real> rows = make_rows(stream_->push_frames(size_of(audio)));
    std::size_t frames = 0;
    const Status status =
        std::visit([&](auto samples) { return stream_->push(samples, rows_of(rows), frames); }, audio);
    return checked(status, std::move(rows));
  }

  py::array finish() override {
    py::array_t<Real> rows = make_rows(stream_->finish_frames());
    std::size_t frames = 0;
    const Status status = stream_->finish(rows_of(rows), frames);
    return checked(status, std::move(rows));
  }

  void reset() override { stream_->reset(); }

 private:
  py::array_t<Real> make_rows(std::size_t frames) const {
    return py::array_t<Real>(std::vector<std::size_t>{frames, stream_->plan().feature_count()});
  }

  static py::array checked(const Status& status, py::array_t<Real> rows) {
    if (!status.ok()) {
      raise(status, "waveform");
    }
    return std::move(rows);
  }

  core::Shared<core::Stream<Real>> stream_;
};

// Computes utterances of a batch until none is left; several threads share one.
template <class Real>
class BatchWork {
 public:
  BatchWork(core::Shared<const core::Plan<Real>> plan, const std::vector<Audio>& audio, Span<Real> rows)
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
    } catch (const std::system_error&) {
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
      statuses_[i] = std::visit([&](auto samples) { return extractor->compute(samples, rows, frames); }, audio_[i]);
      std::fill(rows.begin() + frames * plan_->feature_count(), rows.end(), Real(0));
    }
  }

  core::Shared<const core::Plan<Real>> plan_;
  const std::vector<Audio>& audio_;
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

  py::array compute(const py::array& waveform) const override {
    const Audio audio = audio_of(waveform);
    py::array_t<Real> rows(std::vector<std::size_t>{plan_->frame_count(size_of(audio)), plan_->feature_count()});
    const Span<Real> out = rows_of(rows);
    Status status;
    {
      const py::gil_scoped_release release;
      core::Shared<core::UtteranceExtractor<Real>> extractor;
      status = extractor.create(plan_);
      if (status.ok()) {
        std::size_t frames = 0;
        status = std::visit([&](auto samples) { return extractor->compute(samples, out, frames); }, audio);
      }
    }
    if (!status.ok()) {
      raise(status, "waveform");
    }
    return std::move(rows);
  }

  py::tuple batch(const std::vector<py::array>& waveforms, std::size_t n_threads) const override {
    std::vector<Audio> audio;
    py::array_t<std::int64_t> lengths(static_cast<py::ssize_t>(waveforms.size()));
    std::size_t longest = 0;
    for (std::size_t i = 0; i < waveforms.size(); ++i) {
      audio.push_back(audio_of(waveforms[i]));
      const std::size_t frames = plan_->frame_count(size_of(audio.back()));
      lengths.mutable_at(static_cast<py::ssize_t>(i)) = static_cast<std::int64_t>(frames);
      longest = std::max(longest, frames);
    }
    py::array_t<Real> rows(std::vector<std::size_t>{waveforms.size(), longest, plan_->feature_count()});
    BatchWork<Real> work(plan_, audio, rows_of(rows));
    {
      const py::gil_scoped_release release;
      work.run(n_threads);
    }
    for (std::size_t i = 0; i < waveforms.size(); ++i) {
      if (!work.statuses()[i].ok()) {
        raise(work.statuses()[i], "waveforms[" + std::to_string(i) + "]");
      }
    }
    return py::make_tuple(std::move(rows), std::move(lengths));
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

}  // namespace

PYBIND11_MODULE(_frontend, module) {
  module.doc() = "The compiled part of satn_fast.frontend.";
  module.def("supported_isas", &supported_isas);
  module.attr("OPTION_NAMES") = py::tuple(py::list(to_dict(Options())));

  py::class_<AnyStream>(module, "Stream")
      .def("push", &AnyStream::push, py::arg("waveform"))
      .def("finish", &AnyStream::finish)
      .def("reset", &AnyStream::reset);

  py::class_<AnyPlan>(module, "Plan")
      .def(py::init(&make_plan), py::arg("options"))
      .def("options", [](const AnyPlan& plan) { return to_dict(plan.options()); })
      .def_property_readonly("isa", &AnyPlan::isa)
      .def_property_readonly("feature_count", &AnyPlan::feature_count)
      .def_property_readonly("window_length", &AnyPlan::window_length)
      .def_property_readonly("hop_length", &AnyPlan::hop_length)
      .def_property_readonly("empty_band_count", &AnyPlan::empty_band_count)
      .def("frame_count", &AnyPlan::frame_count, py::arg("n_samples"))
      .def("compute", &AnyPlan::compute, py::arg("waveform"))
      .def("batch", &AnyPlan::batch, py::arg("waveforms"), py::arg("n_threads"))
      .def("stream", &AnyPlan::stream);
}
