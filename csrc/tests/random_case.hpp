// One random case of the front end, and what must hold of it whatever the options, the audio and the pieces are.
//
// The choices come from a `Draw`: a seeded generator in test_random_options.cpp, a fuzzer's bytes in fuzz_frontend.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "satn_frontend.h"

namespace satn::test {

class Draw {
 public:
  virtual ~Draw() = default;

  // A choice from 0 to n - 1.
  virtual std::uint32_t below(std::uint32_t n) = 0;

  // True for the last choice: a fuzzer that has run out of bytes draws zeros, which then choose what is plain and
  // brief.
  bool one_in(std::uint32_t n) { return below(n) == n - 1; }
  std::int32_t integer(std::int32_t first, std::int32_t last) {
    return first + static_cast<std::int32_t>(below(static_cast<std::uint32_t>(last - first) + 1));
  }
  double real(double first, double last) { return first + (last - first) * below(65536) / 65535.0; }
};

// A property that does not hold.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const std::string& property) {
  if (!holds) {
    throw Violation(property);
  }
}

// Where a message goes, with the check that it is written exactly when something is refused.
class Message {
 public:
  char* data() { return text_; }
  std::size_t size() const { return sizeof text_; }

  satn_frontend_status expect(satn_frontend_status status, const char* call) {
    require(std::memchr(text_, '\0', sizeof text_) != nullptr, std::string(call) + ": the message is not terminated");
    require((status == SATN_FRONTEND_OK) == (text_[0] == '\0'),
            std::string(call) + " gave status " + std::to_string(status) + " and the message '" + text_ + "'");
    text_[0] = '\0';
    return status;
  }

 private:
  char text_[SATN_FRONTEND_MESSAGE_SIZE] = "";
};

struct Destroy {
  void operator()(satn_frontend_plan* plan) const { satn_frontend_plan_destroy(plan); }
  void operator()(satn_frontend_stream* stream) const { satn_frontend_stream_destroy(stream); }
};
using PlanHandle = std::unique_ptr<satn_frontend_plan, Destroy>;
using StreamHandle = std::unique_ptr<satn_frontend_stream, Destroy>;

// Streams stand in exactly as many bytes as they ask for, for a sanitizer to guard.
struct alignas(SATN_FRONTEND_MEMORY_ALIGNMENT) MemoryLine {
  unsigned char bytes[SATN_FRONTEND_MEMORY_ALIGNMENT];
};

// ---- options ----

// A choice of each kind, most of them valid together.
inline void vary(Draw& draw, satn_frontend_options& o) {
  const auto change = [&draw] { return draw.one_in(3); };
  if (change()) o.window_seconds = draw.real(0.0005, 0.08);
  if (change()) o.hop_seconds = draw.real(0.0005, 0.1);
  if (change()) o.fft_size = 1 << draw.integer(4, 13);
  if (change()) o.n_mels = draw.integer(1, 160);
  if (change()) o.precision = draw.integer(0, SATN_FRONTEND_FLOAT64);
  if (change()) o.sample_rounding = draw.integer(0, SATN_FRONTEND_ROUND_NEAREST);
  if (change()) o.window = draw.integer(0, SATN_FRONTEND_WINDOW_RECTANGULAR);
  if (change()) o.framing = draw.integer(0, SATN_FRONTEND_FRAMING_CENTER_REFLECT);
  if (change()) o.remove_dc = draw.integer(0, 1);
  if (change()) o.preemphasis_mode = draw.integer(0, SATN_FRONTEND_PREEMPHASIS_SIGNAL);
  if (change()) o.preemphasis = draw.real(0.0, 1.0);
  if (change()) o.low_hz = draw.real(0.0, 0.3 * o.sample_rate);
  if (change()) o.high_hz = draw.real(0.2 * o.sample_rate, 0.5 * o.sample_rate);
  if (change()) o.mel_scale = draw.integer(0, SATN_FRONTEND_MEL_SLANEY);
  if (change()) o.filters = draw.integer(0, SATN_FRONTEND_FILTERS_BINS);
  if (change()) o.filter_norm = draw.integer(0, SATN_FRONTEND_NORM_SLANEY);
  if (change()) o.power_norm = draw.integer(0, SATN_FRONTEND_POWER_FFT_SIZE);
  if (change()) o.log = draw.integer(0, SATN_FRONTEND_LOG_NONE);
  if (change()) o.floor_mode = draw.integer(0, SATN_FRONTEND_FLOOR_ZERO);
  if (change()) o.floor = std::pow(10.0, draw.integer(-37, 3));
  if (!draw.one_in(8)) o.top_db = -1.0;  // a stream refuses any other
  if (change()) o.float_scale = draw.real(-40000.0, 40000.0);
  if (change()) o.int16_scale = draw.real(-2.0, 2.0);
  if (change()) o.deltas = draw.integer(0, 1);
  if (change()) o.delta_window = draw.integer(1, 16);
}

// One field set to what nobody should ask for.
inline void spoil(Draw& draw, satn_frontend_options& o) {
  using Options = satn_frontend_options;
  static constexpr std::int32_t Options::* integers[] = {
      &Options::preset,     &Options::sample_rate,     &Options::n_mels,  &Options::precision,
      &Options::fft_size,   &Options::sample_rounding, &Options::window,  &Options::framing,
      &Options::remove_dc,  &Options::mel_scale,       &Options::filters, &Options::preemphasis_mode,
      &Options::power_norm, &Options::filter_norm,     &Options::log,     &Options::floor_mode,
      &Options::deltas,     &Options::delta_window,
  };
  static constexpr double Options::* reals[] = {
      &Options::window_seconds, &Options::hop_seconds, &Options::preemphasis, &Options::low_hz,      &Options::high_hz,
      &Options::floor,          &Options::top_db,      &Options::float_scale, &Options::int16_scale,
  };
  static constexpr std::int32_t odd_integers[] = {
      std::numeric_limits<std::int32_t>::min(), -1, 0, 2, 17, 500, 16384, 131072,
      std::numeric_limits<std::int32_t>::max()};
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  static constexpr double odd_reals[] = {-infinity, -1.0,  -0.0,     5e-324,
                                         1e-12,     1e-4,  0.5,      3.0,
                                         1e30,      1e300, infinity, std::numeric_limits<double>::quiet_NaN()};
  const auto pick = [&draw](const auto& values) {
    return values[draw.below(static_cast<std::uint32_t>(std::size(values)))];
  };
  if (draw.one_in(2)) {
    o.*pick(integers) = pick(odd_integers);
  } else {
    o.*pick(reals) = pick(odd_reals);
  }
}

// A plan of random options, or none where they were refused.
inline PlanHandle random_plan(Draw& draw) {
  Message message;
  satn_frontend_options options = {};
  options.size = sizeof options;
  static constexpr std::int32_t rates[] = {8000, 11025, 16000, 22050, 44100, 48000};
  const std::int32_t rate = draw.one_in(4) ? draw.integer(-1, 400000) : rates[draw.below(6)];
  const std::int32_t preset = draw.integer(0, SATN_FRONTEND_LIBROSA);
  const std::int32_t n_mels = draw.one_in(8) ? draw.integer(-1, 40000) : draw.integer(1, 128);
  const satn_frontend_status status =
      message.expect(satn_frontend_preset(&options, preset, rate, n_mels, message.data(), message.size()), "preset");
  if (status != SATN_FRONTEND_OK) {
    return nullptr;
  }
  if (!draw.one_in(8)) {
    vary(draw, options);
  }
  if (draw.one_in(4)) {
    spoil(draw, options);
  }
  satn_frontend_plan* plan = nullptr;
  const satn_frontend_status created =
      message.expect(satn_frontend_plan_create(&options, &plan, message.data(), message.size()), "plan_create");
  require(created == SATN_FRONTEND_OK || created == SATN_FRONTEND_ERROR_OPTIONS,
          "plan_create refused for other reasons");
  require((created == SATN_FRONTEND_OK) == (plan != nullptr), "plan_create gave a plan and an error, or neither");
  return PlanHandle(plan);
}

// ---- audio ----

inline satn_frontend_options options_of(const satn_frontend_plan* plan) {
  satn_frontend_options options = {};
  options.size = sizeof options;
  require(satn_frontend_plan_options(plan, &options, nullptr, 0) == SATN_FRONTEND_OK, "a plan hides its options");
  return options;
}

// A number of samples, often one where the number of frames changes.
inline std::size_t random_length(Draw& draw, const satn_frontend_plan* plan) {
  const satn_frontend_options options = options_of(plan);
  const std::size_t hop = satn_frontend_hop_length(plan);
  // At most a million values, so that a hop of one sample and thousands of bands stay fast.
  const std::size_t most =
      std::min<std::size_t>(draw.one_in(4) ? 20000 : 4000, 1000000 / satn_frontend_feature_count(plan) * hop);
  const std::size_t fewest[] = {1, satn_frontend_frame_length(plan),
                                static_cast<std::size_t>(options.fft_size) / 2 + 1};
  // One draw a statement, here and elsewhere: compilers differ in the order within an expression.
  std::size_t length = 0;
  if (draw.one_in(3)) {
    length = fewest[draw.below(3)] - 1;
    length += draw.below(12) * hop;
    length += draw.below(3);
  } else {
    length = draw.below(static_cast<std::uint32_t>(most) + 1);
  }
  return std::min(length, most);
}

struct Audio {
  std::int32_t format = SATN_FRONTEND_FLOAT32;
  std::vector<double> samples;  // at most 1 in magnitude, where it is to be taken

  // The samples in their format, in a block of exactly their size: a sanitizer sees one read too many.
  std::vector<unsigned char> encoded(std::size_t start, std::size_t count) const {
    switch (format) {
      case SATN_FRONTEND_FLOAT32:
        return encoded_as<float>(start, count, 1.0);
      case SATN_FRONTEND_FLOAT64:
        return encoded_as<double>(start, count, 1.0);
      default:
        return encoded_as<std::int16_t>(start, count, 32767.0);
    }
  }

 private:
  template <class Sample>
  std::vector<unsigned char> encoded_as(std::size_t start, std::size_t count, double full_scale) const {
    std::vector<unsigned char> bytes(count * sizeof(Sample));
    for (std::size_t i = 0; i < count; ++i) {
      const auto sample = static_cast<Sample>(full_scale * samples[start + i]);
      std::memcpy(bytes.data() + i * sizeof sample, &sample, sizeof sample);
    }
    return bytes;
  }
};

inline Audio random_audio(Draw& draw, std::size_t length) {
  Audio audio;
  audio.format = draw.integer(0, SATN_FRONTEND_INT16);
  audio.samples.resize(length);
  const std::uint32_t kind = draw.below(6);
  const std::uint32_t period = 1 + draw.below(100);
  for (std::size_t i = 0; i < audio.samples.size(); ++i) {
    double& sample = audio.samples[i];
    switch (kind) {
      case 0:  // silence
        break;
      case 1:  // a square wave at full scale
        sample = i / period % 2 == 0 ? 1.0 : -1.0;
        break;
      case 2:  // too small for a normal number
        sample = audio.format == SATN_FRONTEND_FLOAT64 ? 5e-324 * period : 1.4e-45 * period;
        break;
      case 3:
        sample = 0.5 * std::sin(static_cast<double>(i) / period);
        break;
      default:
        sample = draw.real(-1.0, 1.0);
    }
  }
  static constexpr double bad[] = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                                   -std::numeric_limits<double>::infinity(), 3e38, -1e15};
  if (audio.format != SATN_FRONTEND_INT16 && !audio.samples.empty() && draw.one_in(4)) {
    audio.samples[draw.below(static_cast<std::uint32_t>(audio.samples.size()))] = bad[draw.below(5)];
  }
  return audio;
}

// ---- features ----

// Rows of a plan's precision, in a block of exactly their size.
class Rows {
 public:
  Rows(const satn_frontend_plan* plan, std::size_t frames) : frames_(frames) {
    const satn_frontend_options options = options_of(plan);
    precision_ = options.precision;
    bytes_per_row_ = satn_frontend_feature_count(plan) * (precision_ == SATN_FRONTEND_FLOAT64 ? 8 : 4);
    bytes_.assign(frames * bytes_per_row_, kUnwritten);
  }

  // What is not yet written, from a row on.
  satn_frontend_features from(std::size_t row) {
    return {bytes_.data() + row * bytes_per_row_, frames_ - row, 0, precision_};
  }
  bool untouched() const {
    return std::all_of(bytes_.begin(), bytes_.end(), [](unsigned char byte) { return byte == kUnwritten; });
  }
  bool operator==(const Rows& other) const { return bytes_ == other.bytes_; }

 private:
  static constexpr unsigned char kUnwritten = 0xA5;
  std::size_t frames_;
  std::size_t bytes_per_row_ = 0;
  std::int32_t precision_ = 0;
  std::vector<unsigned char> bytes_;
};

// The number of frames as satn_frontend.h defines it.
inline std::size_t defined_frame_count(const satn_frontend_plan* plan, std::size_t n) {
  const satn_frontend_options options = options_of(plan);
  const std::size_t window = satn_frontend_frame_length(plan);
  const std::size_t hop = satn_frontend_hop_length(plan);
  const std::size_t beyond = n > window ? n - window : 0;
  switch (options.framing) {
    case SATN_FRONTEND_FRAMING_SNIP_EDGES:
      return n < window ? 0 : 1 + beyond / hop;
    case SATN_FRONTEND_FRAMING_PAD_END:
      return n == 0 ? 0 : 1 + (beyond + hop - 1) / hop;
    case SATN_FRONTEND_FRAMING_CENTER_ZERO:
      return n == 0 ? 0 : 1 + n / hop;
    default:
      return n > static_cast<std::size_t>(options.fft_size) / 2 ? 1 + n / hop : 0;
  }
}

inline satn_frontend_status compute(const satn_frontend_plan* plan, const Audio& audio, Rows& rows) {
  Message message;
  const std::vector<unsigned char> samples = audio.encoded(0, audio.samples.size());
  const satn_frontend_audio input = {samples.data(), audio.samples.size(), audio.format};
  satn_frontend_features features = rows.from(0);
  const satn_frontend_status status =
      message.expect(satn_frontend_compute(plan, &input, &features, message.data(), message.size()), "compute");
  if (status == SATN_FRONTEND_OK) {
    require(features.frames == satn_frontend_frame_count(plan, audio.samples.size()), "compute gave other frames");
  } else {
    require(features.frames == 0 && rows.untouched(), "compute refused the audio and wrote rows");
  }
  return status;
}

// ---- streams ----

// A stream, the audio it is fed, and the rows it has given.
class Feeding {
 public:
  Feeding(satn_frontend_stream* stream, Rows& rows) : stream_(stream), rows_(rows) {}

  std::size_t written() const { return written_; }

  satn_frontend_status push(const Audio& audio, std::size_t start, std::size_t count) {
    const std::size_t expected = satn_frontend_stream_push_frames(stream_, count);
    const std::vector<unsigned char> samples = audio.encoded(start, count);
    const satn_frontend_audio chunk = {samples.data(), count, audio.format};
    satn_frontend_features features = rows_.from(written_);
    return advance(satn_frontend_stream_push(stream_, &chunk, &features, message_.data(), message_.size()), features,
                   expected, "push");
  }

  satn_frontend_status finish() {
    const std::size_t expected = satn_frontend_stream_finish_frames(stream_);
    satn_frontend_features features = rows_.from(written_);
    return advance(satn_frontend_stream_finish(stream_, &features, message_.data(), message_.size()), features,
                   expected, "finish");
  }

  // A push that must be refused, and must leave the stream as it was.
  void push_refused(Draw& draw, std::size_t count) {
    Audio audio;
    audio.samples.resize(count + 1);
    audio.samples[draw.below(static_cast<std::uint32_t>(count) + 1)] = std::numeric_limits<double>::quiet_NaN();
    const std::vector<unsigned char> samples = audio.encoded(0, count + 1);
    satn_frontend_audio chunk = {samples.data(), count + 1, SATN_FRONTEND_FLOAT32};
    satn_frontend_features features = rows_.from(written_);
    switch (draw.below(3)) {
      case 0:
        chunk.format = 3;
        break;
      case 1:
        chunk.data = nullptr;
        break;
      default:
        break;  // refused for its NaN, or for room
    }
    const satn_frontend_status status = message_.expect(
        satn_frontend_stream_push(stream_, &chunk, &features, message_.data(), message_.size()), "push");
    require(status != SATN_FRONTEND_OK && features.frames == 0, "a stream took a bad piece");
  }

 private:
  satn_frontend_status advance(satn_frontend_status status, const satn_frontend_features& features,
                               std::size_t expected, const char* call) {
    message_.expect(status, call);
    require(features.frames == (status == SATN_FRONTEND_OK ? expected : 0),
            std::string(call) + " gave another number of rows than announced");
    written_ += features.frames;
    return status;
  }

  satn_frontend_stream* stream_;
  Rows& rows_;
  std::size_t written_ = 0;
  Message message_;
};

// Feeds `audio` in random pieces. What is refused for a bad sample is fed again as silence, there and in `audio`;
// returns whether there was any.
inline bool feed(Draw& draw, Feeding& feeding, Audio& audio) {
  bool repaired = false;
  const std::uint32_t largest = draw.one_in(2) ? 400 : 3000;
  for (std::size_t start = 0; start < audio.samples.size();) {
    const std::size_t piece = draw.one_in(16) ? 0 : 1 + draw.below(largest);
    const std::size_t count = std::min(piece, audio.samples.size() - start);
    if (draw.one_in(8)) {
      feeding.push_refused(draw, count);
    }
    satn_frontend_status status = feeding.push(audio, start, count);
    if (status == SATN_FRONTEND_ERROR_NOT_FINITE) {
      repaired = true;
      const auto first = audio.samples.begin() + static_cast<std::ptrdiff_t>(start);
      std::fill(first, first + static_cast<std::ptrdiff_t>(count), 0.0);
      status = feeding.push(audio, start, count);
    }
    require(status == SATN_FRONTEND_OK, "a stream refused good audio");
    start += count;
  }
  return repaired;
}

// Draws a plan and audio, and checks every property. Throws Violation. Returns whether the options made a plan.
inline bool check_random_case(Draw& draw) {
  const PlanHandle plan = random_plan(draw);
  if (plan == nullptr) {
    return false;
  }
  Audio audio = random_audio(draw, random_length(draw, plan.get()));
  const std::size_t frames = satn_frontend_frame_count(plan.get(), audio.samples.size());
  require(frames == defined_frame_count(plan.get(), audio.samples.size()), "frame_count differs from its definition");
  Rows whole(plan.get(), frames);
  const satn_frontend_status whole_status = compute(plan.get(), audio, whole);

  Message message;
  satn_frontend_stream* created = nullptr;
  std::vector<MemoryLine> memory(satn_frontend_stream_bytes(plan.get()) / sizeof(MemoryLine));
  const satn_frontend_status status =
      message.expect(satn_frontend_stream_create_in(plan.get(), memory.data(), memory.size() * sizeof(MemoryLine),
                                                    &created, message.data(), message.size()),
                     "stream_create_in");
  const StreamHandle stream(created);
  if (status != SATN_FRONTEND_OK) {
    require(status == SATN_FRONTEND_ERROR_NOT_STREAMABLE && created == nullptr, "stream_create refused a plan");
    return true;
  }
  Rows pieces(plan.get(), frames);
  Feeding feeding(stream.get(), pieces);
  const bool repaired = feed(draw, feeding, audio);
  const satn_frontend_status finished = feeding.finish();
  if (audio.samples.empty()) {
    require(finished == SATN_FRONTEND_OK && feeding.written() == 0, "a stream made rows of no samples");
    return true;
  }
  if (finished != SATN_FRONTEND_OK) {  // too few samples to mirror: known only at the end
    require(finished == SATN_FRONTEND_ERROR_AUDIO && frames == 0, "a stream refused to finish");
    require(whole_status == finished, "the stream refused audio that compute took");
    return true;
  }
  require(repaired == (whole_status == SATN_FRONTEND_ERROR_NOT_FINITE),
          "compute and the stream disagree on bad samples");
  if (repaired) {
    require(compute(plan.get(), audio, whole) == SATN_FRONTEND_OK, "compute refused repaired audio");
  }
  require(feeding.written() == frames, "the stream gave another number of rows than compute");
  require(pieces == whole, "the stream's rows differ from compute's");
  return true;
}

}  // namespace satn::test
