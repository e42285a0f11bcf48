// The C API over the C++ core: translation of structs, no arithmetic.
#include "c_structs.hpp"
#include "memory.hpp"
#include "plan.hpp"
#include "satn_frontend.h"
#include "span.hpp"
#include "stream.hpp"
#include "utterance.hpp"

#ifndef SATN_FRONTEND_VERSION
#define SATN_FRONTEND_VERSION "0.0.0"
#endif

namespace core = satn::frontend;

namespace {

using core::check_size;
using core::from_c;
using core::null_argument;
using core::report;
using core::Span;
using core::Status;
using core::to_c;

Status check_audio(const satn_frontend_audio* audio) {
  if (audio == nullptr || (audio->data == nullptr && audio->count > 0)) {
    return null_argument(audio == nullptr ? "audio" : "audio.data");
  }
  if (audio->format < SATN_FRONTEND_FLOAT32 || audio->format > SATN_FRONTEND_INT16) {
    return Status::error(SATN_FRONTEND_ERROR_FORMAT,
                         "audio.format is %d, but must be SATN_FRONTEND_FLOAT32, _FLOAT64 or _INT16", audio->format);
  }
  return {};
}

template <class Real>
Status check_features(const satn_frontend_features* features) {
  if (features == nullptr || (features->data == nullptr && features->capacity > 0)) {
    return null_argument(features == nullptr ? "features" : "features.data");
  }
  const std::int32_t format = sizeof(Real) == sizeof(float) ? SATN_FRONTEND_FLOAT32 : SATN_FRONTEND_FLOAT64;
  if (features->format != format) {
    return Status::error(SATN_FRONTEND_ERROR_FORMAT,
                         "features.format is %d, but the plan's precision gives %s: match the two", features->format,
                         format == SATN_FRONTEND_FLOAT32 ? "SATN_FRONTEND_FLOAT32" : "SATN_FRONTEND_FLOAT64");
  }
  return {};
}

template <class Real>
Span<Real> rows_of(const satn_frontend_features& features, std::size_t feature_count) {
  return Span<Real>(static_cast<Real*>(features.data), features.capacity * feature_count);
}

// Calls `use` with the samples in their own type.
template <class Use>
Status with_samples(const satn_frontend_audio& audio, Use&& use) {
  switch (audio.format) {
    case SATN_FRONTEND_FLOAT32:
      return use(Span<const float>(static_cast<const float*>(audio.data), audio.count));
    case SATN_FRONTEND_FLOAT64:
      return use(Span<const double>(static_cast<const double*>(audio.data), audio.count));
    default:
      return use(Span<const std::int16_t>(static_cast<const std::int16_t*>(audio.data), audio.count));
  }
}

// Calls `use` with the object behind a handle, in its precision.
template <class Use>
auto with_plan(const satn_frontend_plan* plan, Use&& use) {
#if !defined(SATN_FRONTEND_NO_FLOAT64)
  if (plan->precision == core::Precision::float64) {
    return use(*static_cast<const core::Plan<double>*>(plan));
  }
#endif
  return use(*static_cast<const core::Plan<float>*>(plan));
}

template <class Use>
auto with_stream(satn_frontend_stream* stream, Use&& use) {
#if !defined(SATN_FRONTEND_NO_FLOAT64)
  if (stream->precision == core::Precision::float64) {
    return use(*static_cast<core::Stream<double>*>(stream));
  }
#endif
  return use(*static_cast<core::Stream<float>*>(stream));
}

// A number that a plan or a stream knows; 0 for NULL.
template <class Get>
std::size_t ask(const satn_frontend_plan* plan, Get&& get) {
  return plan == nullptr ? 0 : with_plan(plan, [&get](const auto& p) -> std::size_t { return get(p); });
}

template <class Get>
std::size_t ask(const satn_frontend_stream* stream, Get&& get) {
  return stream == nullptr
             ? 0
             : with_stream(const_cast<satn_frontend_stream*>(stream), [&get](const auto& s) { return get(s); });
}

// Where an object is made. Two types rather than a choice at run time: who uses only the second is linked without a
// heap.
struct OnHeap {
  template <class Object, class... Arguments>
  Status make(core::Shared<Object>& object, const Arguments&... arguments) const {
    return object.create(arguments...);
  }
};

struct InMemory {
  Span<unsigned char> memory;

  template <class Object, class... Arguments>
  Status make(core::Shared<Object>& object, const Arguments&... arguments) const {
    return object.create_in(memory, arguments...);
  }
};

struct PlanChoices {
  core::Options options;
  core::Isa isa = core::Isa::baseline;
};

Status choose(const satn_frontend_options* options, PlanChoices& choices) {
  Status status = check_size(options);
  if (status.ok()) {
    choices.options = from_c(*options);
    status = core::resolve(choices.options);
  }
  if (status.ok()) {
    status = core::choose_isa(choices.isa);
  }
  return status;
}

template <class Real>
std::size_t plan_bytes(const PlanChoices& choices) {
  return core::Shared<core::Plan<Real>>::bytes(choices.options, choices.isa);
}

template <class Real, class Place>
Status make_plan(const PlanChoices& choices, const Place& place, satn_frontend_plan*& handle) {
  core::Shared<core::Plan<Real>> plan;
  const Status status = place.make(plan, choices.options, choices.isa);
  handle = plan.detach();
  return status;
}

template <class Place>
Status make_plan(const satn_frontend_options* options, const Place& place, satn_frontend_plan** plan) {
  if (plan == nullptr) {
    return null_argument("plan");
  }
  *plan = nullptr;
  PlanChoices choices;
  const Status status = choose(options, choices);
  if (!status.ok()) {
    return status;
  }
#if !defined(SATN_FRONTEND_NO_FLOAT64)
  if (choices.options.precision == core::Precision::float64) {
    return make_plan<double>(choices, place, *plan);
  }
#endif
  return make_plan<float>(choices, place, *plan);
}

template <class Real, class Place>
Status make_stream(const core::Plan<Real>& plan, const Place& place, satn_frontend_stream*& handle) {
  Status status = core::Stream<Real>::check_options(plan.options());
  if (status.ok()) {
    core::Shared<core::Stream<Real>> stream;
    status = place.make(stream, core::Shared<const core::Plan<Real>>(&plan));
    handle = stream.detach();
  }
  return status;
}

template <class Place>
Status make_stream(const satn_frontend_plan* plan, const Place& place, satn_frontend_stream** stream) {
  if (plan == nullptr || stream == nullptr) {
    return null_argument(plan == nullptr ? "plan" : "stream");
  }
  *stream = nullptr;
  return with_plan(plan, [&](const auto& p) { return make_stream(p, place, *stream); });
}

template <class Real>
std::size_t stream_bytes(const core::Plan<Real>& plan) {
  return core::Shared<core::Stream<Real>>::bytes(core::Shared<const core::Plan<Real>>(&plan));
}

// Gives up the handle's share of an object.
template <class Object>
void destroy(Object& object) {
  core::Shared<Object>::attach(&object);
}

template <class Real>
Status compute(const core::Plan<Real>& plan, const satn_frontend_audio* audio, satn_frontend_features* features) {
  Status status = check_audio(audio);
  if (status.ok()) {
    status = check_features<Real>(features);
  }
  core::Shared<core::UtteranceExtractor<Real>> extractor;
  if (status.ok()) {
    status = extractor.create(core::Shared<const core::Plan<Real>>(&plan));
  }
  if (!status.ok()) {
    return status;
  }
  return with_samples(*audio, [&](auto samples) {
    return extractor->compute(samples, rows_of<Real>(*features, plan.feature_count()), features->frames);
  });
}

template <class Real>
Status push(core::Stream<Real>& stream, const satn_frontend_audio* audio, satn_frontend_features* features) {
  Status status = check_audio(audio);
  if (status.ok()) {
    status = check_features<Real>(features);
  }
  if (!status.ok()) {
    return status;
  }
  return with_samples(*audio, [&](auto samples) {
    return stream.push(samples, rows_of<Real>(*features, stream.plan().feature_count()), features->frames);
  });
}

template <class Real>
Status finish(core::Stream<Real>& stream, satn_frontend_features* features) {
  const Status status = check_features<Real>(features);
  return status.ok() ? stream.finish(rows_of<Real>(*features, stream.plan().feature_count()), features->frames)
                     : status;
}

}  // namespace

const char* satn_frontend_version(void) { return SATN_FRONTEND_VERSION; }

satn_frontend_status satn_frontend_preset(satn_frontend_options* options, int32_t preset, int32_t sample_rate,
                                          int32_t n_mels, char* message, size_t message_size) {
  Status status = check_size(options);
  core::Options chosen;
  if (status.ok()) {
    status = core::preset_options(preset, sample_rate, n_mels, chosen);
  }
  if (status.ok()) {
    to_c(chosen, *options);
  }
  return report(status, message, message_size);
}

satn_frontend_status satn_frontend_plan_bytes(const satn_frontend_options* options, size_t* bytes, char* message,
                                              size_t message_size) {
  if (bytes == nullptr) {
    return report(null_argument("bytes"), message, message_size);
  }
  PlanChoices choices;
  const Status status = choose(options, choices);
  if (status.ok()) {
    *bytes = plan_bytes<float>(choices);
#if !defined(SATN_FRONTEND_NO_FLOAT64)
    if (choices.options.precision == core::Precision::float64) {
      *bytes = plan_bytes<double>(choices);
    }
#endif
  }
  return report(status, message, message_size);
}

satn_frontend_status satn_frontend_plan_create(const satn_frontend_options* options, satn_frontend_plan** plan,
                                               char* message, size_t message_size) {
  return report(make_plan(options, OnHeap(), plan), message, message_size);
}

satn_frontend_status satn_frontend_plan_create_in(const satn_frontend_options* options, void* memory, size_t bytes,
                                                  satn_frontend_plan** plan, char* message, size_t message_size) {
  const InMemory place{Span<unsigned char>(static_cast<unsigned char*>(memory), memory == nullptr ? 0 : bytes)};
  return report(make_plan(options, place, plan), message, message_size);
}

void satn_frontend_plan_destroy(satn_frontend_plan* plan) {
  if (plan != nullptr) {
    with_plan(plan, [](const auto& p) { destroy(p); });
  }
}

satn_frontend_status satn_frontend_plan_options(const satn_frontend_plan* plan, satn_frontend_options* options,
                                                char* message, size_t message_size) {
  if (plan == nullptr || options == nullptr) {
    return report(null_argument(plan == nullptr ? "plan" : "options"), message, message_size);
  }
  const Status status = check_size(options);
  if (status.ok()) {
    with_plan(plan, [options](const auto& p) { to_c(p.options(), *options); });
  }
  return report(status, message, message_size);
}

const char* satn_frontend_isa(const satn_frontend_plan* plan) {
  return plan == nullptr ? "" : with_plan(plan, [](const auto& p) { return core::isa_name(p.isa()); });
}

size_t satn_frontend_feature_count(const satn_frontend_plan* plan) {
  return ask(plan, [](const auto& p) { return p.feature_count(); });
}

size_t satn_frontend_frame_length(const satn_frontend_plan* plan) {
  return ask(plan, [](const auto& p) { return p.window_length(); });
}

size_t satn_frontend_hop_length(const satn_frontend_plan* plan) {
  return ask(plan, [](const auto& p) { return p.hop_length(); });
}

size_t satn_frontend_empty_band_count(const satn_frontend_plan* plan) {
  return ask(plan, [](const auto& p) { return p.empty_band_count(); });
}

size_t satn_frontend_frame_count(const satn_frontend_plan* plan, size_t n_samples) {
  return ask(plan, [n_samples](const auto& p) { return static_cast<std::size_t>(p.frame_count(n_samples)); });
}

satn_frontend_status satn_frontend_compute(const satn_frontend_plan* plan, const satn_frontend_audio* audio,
                                           satn_frontend_features* features, char* message, size_t message_size) {
  const Status status = plan == nullptr ? null_argument("plan")
                                        : with_plan(plan, [&](const auto& p) { return compute(p, audio, features); });
  return report(status, message, message_size);
}

size_t satn_frontend_stream_bytes(const satn_frontend_plan* plan) {
  return ask(plan, [](const auto& p) { return stream_bytes(p); });
}

satn_frontend_status satn_frontend_stream_create(const satn_frontend_plan* plan, satn_frontend_stream** stream,
                                                 char* message, size_t message_size) {
  return report(make_stream(plan, OnHeap(), stream), message, message_size);
}

satn_frontend_status satn_frontend_stream_create_in(const satn_frontend_plan* plan, void* memory, size_t bytes,
                                                    satn_frontend_stream** stream, char* message, size_t message_size) {
  const InMemory place{Span<unsigned char>(static_cast<unsigned char*>(memory), memory == nullptr ? 0 : bytes)};
  return report(make_stream(plan, place, stream), message, message_size);
}

void satn_frontend_stream_destroy(satn_frontend_stream* stream) {
  if (stream != nullptr) {
    with_stream(stream, [](auto& s) { destroy(s); });
  }
}

size_t satn_frontend_stream_push_frames(const satn_frontend_stream* stream, size_t n_samples) {
  return ask(stream, [n_samples](const auto& s) { return s.push_frames(n_samples); });
}

size_t satn_frontend_stream_finish_frames(const satn_frontend_stream* stream) {
  return ask(stream, [](const auto& s) { return s.finish_frames(); });
}

satn_frontend_status satn_frontend_stream_push(satn_frontend_stream* stream, const satn_frontend_audio* audio,
                                               satn_frontend_features* features, char* message, size_t message_size) {
  const Status status = stream == nullptr ? null_argument("stream")
                                          : with_stream(stream, [&](auto& s) { return push(s, audio, features); });
  return report(status, message, message_size);
}

satn_frontend_status satn_frontend_stream_finish(satn_frontend_stream* stream, satn_frontend_features* features,
                                                 char* message, size_t message_size) {
  const Status status =
      stream == nullptr ? null_argument("stream") : with_stream(stream, [&](auto& s) { return finish(s, features); });
  return report(status, message, message_size);
}

void satn_frontend_stream_reset(satn_frontend_stream* stream) {
  if (stream != nullptr) {
    with_stream(stream, [](auto& s) { s.reset(); });
  }
}
