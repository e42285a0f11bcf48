#include "features.h"

#include "error.h"

namespace {

struct Message {
  char text[SATN_FRONTEND_MESSAGE_SIZE];

  void require(satn_frontend_status status) const {
    if (status != SATN_FRONTEND_OK) {
      throw Error(text);
    }
  }
};

satn_frontend_audio audio_of(const std::vector<int16_t>& samples) {
  return {samples.data(), samples.size(), SATN_FRONTEND_INT16};
}

/* Where the C library writes the rows that `to` has room for. */
satn_frontend_features room(Features& to) { return {to.values.data(), to.frames, 0, SATN_FRONTEND_FLOAT32}; }

}  // namespace

FrontEnd::FrontEnd(const std::string& json) {
  Message message{};
  satn_frontend_options options{};
  options.size = sizeof options;
  message.require(
      satn_frontend_options_from_json(&options, json.data(), json.size(), message.text, sizeof message.text));
  satn_frontend_plan* plan = nullptr;
  message.require(satn_frontend_plan_create(&options, &plan, message.text, sizeof message.text));
  plan_.reset(plan);
  rate_ = options.sample_rate;
}

Features FrontEnd::compute(const std::vector<int16_t>& samples) const {
  Message message{};
  Features result = rows(satn_frontend_frame_count(plan_.get(), samples.size()));
  if (result.frames == 0) {
    return result;
  }
  const satn_frontend_audio audio = audio_of(samples);
  satn_frontend_features to = room(result);
  message.require(satn_frontend_compute(plan_.get(), &audio, &to, message.text, sizeof message.text));
  return result;
}

Features FrontEnd::push(const std::vector<int16_t>& samples) {
  Message message{};
  if (stream_ == nullptr) {
    satn_frontend_stream* stream = nullptr;
    message.require(satn_frontend_stream_create(plan_.get(), &stream, message.text, sizeof message.text));
    stream_.reset(stream);
  }
  Features result = rows(satn_frontend_stream_push_frames(stream_.get(), samples.size()));
  const satn_frontend_audio audio = audio_of(samples);
  satn_frontend_features to = room(result);
  message.require(satn_frontend_stream_push(stream_.get(), &audio, &to, message.text, sizeof message.text));
  return result;
}

Features FrontEnd::finish() {
  if (stream_ == nullptr) {
    return {};
  }
  Message message{};
  Features result = rows(satn_frontend_stream_finish_frames(stream_.get()));
  satn_frontend_features to = room(result);
  message.require(satn_frontend_stream_finish(stream_.get(), &to, message.text, sizeof message.text));
  satn_frontend_stream_reset(stream_.get());
  return result;
}

Features FrontEnd::rows(size_t count) const { return {std::vector<float>(count * width()), count}; }
