/* The C API as a C program sees it: results, streams, and every status that can be provoked. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "satn_frontend.h"

#define N_SAMPLES 8000
#define MAX_ROWS 128
#define MAX_FEATURES 240

static int failures = 0;

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                               \
    }                                                                           \
  } while (0)

static char message[SATN_FRONTEND_MESSAGE_SIZE];
static int16_t tone[N_SAMPLES];
static float tone_float[N_SAMPLES];
static double tone_double[N_SAMPLES];
static float whole[MAX_ROWS * MAX_FEATURES];
static float pieces[MAX_ROWS * MAX_FEATURES];
static double whole_double[MAX_ROWS * MAX_FEATURES];

static satn_frontend_options preset(int32_t id) {
  satn_frontend_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  CHECK(satn_frontend_preset(&options, id, 16000, 40, message, sizeof message) == SATN_FRONTEND_OK);
  return options;
}

static satn_frontend_plan *make_plan(const satn_frontend_options *options) {
  satn_frontend_plan *plan = NULL;
  if (satn_frontend_plan_create(options, &plan, message, sizeof message) != SATN_FRONTEND_OK) {
    fprintf(stderr, "%s\n", message);
    exit(1);
  }
  return plan;
}

static void make_tone(void) {
  uint32_t noise = 1;
  for (int i = 0; i < N_SAMPLES; ++i) {
    noise = noise * 1664525U + 1013904223U;
    tone[i] = (int16_t)(8000.0 * sin(0.05 * i) + (double)(noise >> 24));
    tone_float[i] = (float)tone[i] / 32768.0F;
    tone_double[i] = (double)tone[i] / 32768.0;
  }
}

/* A 1000 Hz sine must be loudest in the band around 1000 Hz, at the level that the definition gives. */
static void test_known_answer(void) {
  satn_frontend_options options = preset(SATN_FRONTEND_KALDI);
  options.preemphasis = 0.0;
  options.window = SATN_FRONTEND_WINDOW_RECTANGULAR;
  options.window_seconds = 0.032; /* 512 samples: 1000 Hz is bin 32 exactly */
  options.log = SATN_FRONTEND_LOG_NONE;
  options.deltas = 0;
  satn_frontend_plan *plan = make_plan(&options);
  float sine[512];
  for (int i = 0; i < 512; ++i) {
    sine[i] = (float)sin(6.283185307179586 * 1000.0 * i / 16000.0) / 32768.0F;
  }
  float row[40];
  const satn_frontend_audio audio = {sine, 512, SATN_FRONTEND_FLOAT32};
  satn_frontend_features features = {row, 1, 0, SATN_FRONTEND_FLOAT32};
  CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);
  double total = 0.0;
  for (int band = 0; band < 40; ++band) {
    total += row[band];
  }
  /* Neighbouring triangles sum to 1, so that the bands together hold |X|^2 = (512 / 2)^2. */
  CHECK(fabs(total - 65536.0) < 1.0);
  satn_frontend_plan_destroy(plan);
}

static void test_compute_every_format(void) {
  for (int32_t id = SATN_FRONTEND_KALDI; id <= SATN_FRONTEND_LIBROSA; ++id) {
    satn_frontend_options options = preset(id);
    if (id == SATN_FRONTEND_PSF) {
      options.float_scale = 32768.0; /* so that all three formats mean the same audio */
    }
    satn_frontend_plan *plan = make_plan(&options);
    const size_t width = satn_frontend_feature_count(plan);
    CHECK(width == 120);
    CHECK(satn_frontend_frame_length(plan) == 400);
    CHECK(satn_frontend_hop_length(plan) == 160);
    CHECK(satn_frontend_empty_band_count(plan) == 0);
    const satn_frontend_audio audio[3] = {{tone, N_SAMPLES, SATN_FRONTEND_INT16},
                                          {tone_float, N_SAMPLES, SATN_FRONTEND_FLOAT32},
                                          {tone_double, N_SAMPLES, SATN_FRONTEND_FLOAT64}};
    satn_frontend_features features = {whole, MAX_ROWS, 0, SATN_FRONTEND_FLOAT32};
    satn_frontend_features other = {pieces, MAX_ROWS, 0, SATN_FRONTEND_FLOAT32};
    CHECK(satn_frontend_compute(plan, &audio[0], &features, message, sizeof message) == SATN_FRONTEND_OK);
    CHECK(features.frames == satn_frontend_frame_count(plan, N_SAMPLES));
    for (int format = 1; format < 3; ++format) {
      CHECK(satn_frontend_compute(plan, &audio[format], &other, message, sizeof message) == SATN_FRONTEND_OK);
      CHECK(other.frames == features.frames);
      CHECK(memcmp(whole, pieces, features.frames * width * sizeof(float)) == 0);
    }
    satn_frontend_plan_destroy(plan);

    options.precision = SATN_FRONTEND_FLOAT64;
    plan = make_plan(&options);
    satn_frontend_features precise = {whole_double, MAX_ROWS, 0, SATN_FRONTEND_FLOAT64};
    CHECK(satn_frontend_compute(plan, &audio[0], &precise, message, sizeof message) == SATN_FRONTEND_OK);
    CHECK(precise.frames == features.frames);
    for (size_t i = 0; i < features.frames * width; ++i) {
      CHECK(fabs(whole_double[i] - (double)whole[i]) < 0.01);
    }
    satn_frontend_plan_destroy(plan);
  }
}

static void test_stream_equals_whole(void) {
  static const size_t sizes[] = {1, 7, 160, 401, 3000};
  for (int32_t id = SATN_FRONTEND_KALDI; id <= SATN_FRONTEND_LIBROSA; ++id) {
    satn_frontend_options options = preset(id);
    options.top_db = -1.0;
    satn_frontend_plan *plan = make_plan(&options);
    const size_t width = satn_frontend_feature_count(plan);
    const satn_frontend_audio audio = {tone, N_SAMPLES, SATN_FRONTEND_INT16};
    satn_frontend_features features = {whole, MAX_ROWS, 0, SATN_FRONTEND_FLOAT32};
    CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);

    satn_frontend_stream *stream = NULL;
    CHECK(satn_frontend_stream_create(plan, &stream, message, sizeof message) == SATN_FRONTEND_OK);
    satn_frontend_plan_destroy(plan); /* the stream keeps what it needs */
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; ++s) {
      size_t rows = 0;
      for (size_t start = 0; start < N_SAMPLES; start += sizes[s]) {
        const size_t count = sizes[s] < N_SAMPLES - start ? sizes[s] : N_SAMPLES - start;
        const size_t expected = satn_frontend_stream_push_frames(stream, count);
        const satn_frontend_audio chunk = {tone + start, count, SATN_FRONTEND_INT16};
        satn_frontend_features out = {pieces + rows * width, MAX_ROWS - rows, 0, SATN_FRONTEND_FLOAT32};
        CHECK(satn_frontend_stream_push(stream, &chunk, &out, message, sizeof message) == SATN_FRONTEND_OK);
        CHECK(out.frames == expected);
        rows += out.frames;
      }
      const size_t expected = satn_frontend_stream_finish_frames(stream);
      satn_frontend_features out = {pieces + rows * width, MAX_ROWS - rows, 0, SATN_FRONTEND_FLOAT32};
      CHECK(satn_frontend_stream_finish(stream, &out, message, sizeof message) == SATN_FRONTEND_OK);
      CHECK(out.frames == expected);
      rows += out.frames;
      CHECK(rows == features.frames);
      CHECK(memcmp(whole, pieces, rows * width * sizeof(float)) == 0);
      satn_frontend_stream_reset(stream);
    }
    satn_frontend_stream_destroy(stream);
  }
}

/* Each option out of range: refused, named in the message, and no plan. */
static void test_bad_options(void) {
#define REFUSED(field, value)                                                                              \
  do {                                                                                                     \
    satn_frontend_options bad = preset(SATN_FRONTEND_KALDI);                                               \
    satn_frontend_plan *plan = (satn_frontend_plan *)&bad;                                                 \
    bad.field = value;                                                                                     \
    message[0] = '\0';                                                                                     \
    CHECK(satn_frontend_plan_create(&bad, &plan, message, sizeof message) == SATN_FRONTEND_ERROR_OPTIONS); \
    CHECK(plan == NULL);                                                                                   \
    CHECK(strstr(message, #field) != NULL);                                                                \
  } while (0)
  REFUSED(preset, 6);
  REFUSED(sample_rate, 0);
  REFUSED(sample_rate, -16000);
  REFUSED(n_mels, 0);
  REFUSED(n_mels, 257);
  REFUSED(precision, 2);
  REFUSED(window_seconds, 0.0);
  REFUSED(window_seconds, 1e9);
  REFUSED(window_seconds, NAN);
  REFUSED(hop_seconds, -0.01);
  REFUSED(hop_seconds, INFINITY);
  REFUSED(sample_rounding, 2);
  REFUSED(fft_size, 256);
  REFUSED(fft_size, 500);
  REFUSED(fft_size, -512);
  REFUSED(fft_size, 131072);
  REFUSED(window, 6);
  REFUSED(window, -1);
  REFUSED(framing, 4);
  REFUSED(preemphasis_mode, 2);
  REFUSED(preemphasis, 1.5);
  REFUSED(preemphasis, NAN);
  REFUSED(low_hz, -1.0);
  REFUSED(low_hz, 8000.0);
  REFUSED(high_hz, 8001.0);
  REFUSED(high_hz, NAN);
  REFUSED(mel_scale, 2);
  REFUSED(filters, 3);
  REFUSED(filter_norm, 2);
  REFUSED(power_norm, 2);
  REFUSED(log, 4);
  REFUSED(floor_mode, 2);
  REFUSED(floor, 0.0);
  REFUSED(floor, NAN);
  REFUSED(top_db, 80.0);
  REFUSED(top_db, NAN);
  REFUSED(float_scale, 0.0);
  REFUSED(int16_scale, INFINITY);
  REFUSED(delta_window, 0);
  REFUSED(delta_window, 17);
#undef REFUSED
}

static void test_bad_arguments(void) {
  satn_frontend_options options = preset(SATN_FRONTEND_KALDI);
  satn_frontend_plan *plan = make_plan(&options);
  satn_frontend_stream *stream = NULL;
  const satn_frontend_audio audio = {tone, N_SAMPLES, SATN_FRONTEND_INT16};
  satn_frontend_features features = {whole, MAX_ROWS, 0, SATN_FRONTEND_FLOAT32};
  const int refused = SATN_FRONTEND_ERROR_ARGUMENT;
  char *m = message;
  const size_t size = sizeof message;

  CHECK(satn_frontend_preset(NULL, 0, 16000, 40, m, size) == refused);
  CHECK(satn_frontend_preset(&options, 6, 16000, 40, m, size) == refused);
  CHECK(satn_frontend_preset(&options, -1, 16000, 40, m, size) == refused);
  options.size = 8;
  CHECK(satn_frontend_preset(&options, 0, 16000, 40, m, size) == refused);
  CHECK(strstr(message, "sizeof") != NULL);
  satn_frontend_plan *none = plan;
  CHECK(satn_frontend_plan_create(&options, &none, m, size) == refused);
  CHECK(none == NULL);
  CHECK(satn_frontend_plan_create(NULL, &none, m, size) == refused);
  CHECK(satn_frontend_plan_create(&options, NULL, m, size) == refused);
  CHECK(satn_frontend_plan_options(plan, &options, m, size) == refused);
  CHECK(satn_frontend_plan_options(NULL, &options, m, size) == refused);
  options.size = sizeof options;
  CHECK(satn_frontend_plan_options(plan, &options, m, size) == SATN_FRONTEND_OK);
  CHECK(options.fft_size == 512 && options.high_hz == 8000.0);

  CHECK(satn_frontend_compute(NULL, &audio, &features, m, size) == refused);
  CHECK(satn_frontend_compute(plan, NULL, &features, m, size) == refused);
  CHECK(satn_frontend_compute(plan, &audio, NULL, m, size) == refused);
  const satn_frontend_audio no_data = {NULL, 4, SATN_FRONTEND_INT16};
  CHECK(satn_frontend_compute(plan, &no_data, &features, m, size) == refused);
  satn_frontend_features no_rows = {NULL, 4, 0, SATN_FRONTEND_FLOAT32};
  CHECK(satn_frontend_compute(plan, &audio, &no_rows, m, size) == refused);

  CHECK(satn_frontend_stream_create(NULL, &stream, m, size) == refused);
  CHECK(satn_frontend_stream_create(plan, NULL, m, size) == refused);
  CHECK(satn_frontend_stream_push(NULL, &audio, &features, m, size) == refused);
  CHECK(satn_frontend_stream_finish(NULL, &features, m, size) == refused);
  CHECK(satn_frontend_feature_count(NULL) == 0);
  CHECK(satn_frontend_frame_count(NULL, 400) == 0);
  CHECK(satn_frontend_stream_push_frames(NULL, 400) == 0);
  CHECK(satn_frontend_stream_finish_frames(NULL) == 0);
  satn_frontend_stream_reset(NULL);
  satn_frontend_stream_destroy(NULL);
  satn_frontend_plan_destroy(NULL);

  /* The message is optional, and cut to its buffer. */
  CHECK(satn_frontend_compute(NULL, &audio, &features, NULL, 0) == refused);
  char tiny[4] = "abc";
  CHECK(satn_frontend_compute(NULL, &audio, &features, tiny, sizeof tiny) == refused);
  CHECK(tiny[3] == '\0' && strcmp(tiny, "pla") == 0);
  satn_frontend_plan_destroy(plan);
}

static void test_bad_audio(void) {
  satn_frontend_options options = preset(SATN_FRONTEND_KALDI);
  satn_frontend_plan *plan = make_plan(&options);
  satn_frontend_features features = {whole, MAX_ROWS, 0, SATN_FRONTEND_FLOAT32};
  satn_frontend_audio audio = {tone_float, 0, SATN_FRONTEND_FLOAT32};
  CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_ERROR_AUDIO);

  audio.count = N_SAMPLES;
  static const float poison[] = {NAN, INFINITY, -INFINITY, 3e38F};
  for (size_t i = 0; i < sizeof poison / sizeof poison[0]; ++i) {
    const float before = tone_float[4321];
    tone_float[4321] = poison[i];
    whole[0] = -1234.0F;
    CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_ERROR_NOT_FINITE);
    CHECK(strstr(message, "4321") != NULL);
    CHECK(whole[0] == -1234.0F && features.frames == 0);
    tone_float[4321] = before;
  }

  audio.format = 3;
  CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_ERROR_FORMAT);
  audio.format = SATN_FRONTEND_FLOAT32;
  features.format = SATN_FRONTEND_FLOAT64;
  CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_ERROR_FORMAT);
  features.format = SATN_FRONTEND_FLOAT32;
  features.capacity = satn_frontend_frame_count(plan, N_SAMPLES) - 1;
  CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_ERROR_CAPACITY);
  features.capacity += 1;
  CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);

  /* Too short for a window: no rows, no error, and no output needed. */
  audio.count = 399;
  satn_frontend_features nothing = {NULL, 0, 7, SATN_FRONTEND_FLOAT32};
  CHECK(satn_frontend_compute(plan, &audio, &nothing, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(nothing.frames == 0);
  satn_frontend_plan_destroy(plan);

  options = preset(SATN_FRONTEND_TORCHAUDIO);
  plan = make_plan(&options);
  audio.count = 256;
  CHECK(satn_frontend_frame_count(plan, 256) == 0 && satn_frontend_frame_count(plan, 257) == 2);
  CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_ERROR_AUDIO);
  CHECK(strstr(message, "257") != NULL);
  satn_frontend_stream *stream = NULL;
  CHECK(satn_frontend_stream_create(plan, &stream, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(satn_frontend_stream_finish(stream, &features, message, sizeof message) == SATN_FRONTEND_ERROR_AUDIO);
  audio.count = 1; /* one more sample is enough, and the refusal did not end the stream */
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(satn_frontend_stream_finish(stream, &features, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(features.frames == 2);
  satn_frontend_stream_destroy(stream);
  satn_frontend_plan_destroy(plan);
}

static void test_stream_errors_change_nothing(void) {
  satn_frontend_options options = preset(SATN_FRONTEND_KALDI);
  satn_frontend_plan *plan = make_plan(&options);
  satn_frontend_stream *stream = NULL;
  CHECK(satn_frontend_stream_create(plan, &stream, message, sizeof message) == SATN_FRONTEND_OK);
  satn_frontend_audio audio = {tone_double, N_SAMPLES, SATN_FRONTEND_FLOAT64};
  satn_frontend_features features = {whole, 0, 0, SATN_FRONTEND_FLOAT32};
  const size_t expected = satn_frontend_stream_push_frames(stream, N_SAMPLES);
  CHECK(expected == satn_frontend_frame_count(plan, N_SAMPLES) - 4); /* deltas look 4 frames ahead */
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, sizeof message) == SATN_FRONTEND_ERROR_CAPACITY);
  features.capacity = MAX_ROWS;
  tone_double[17] = NAN;
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, sizeof message) ==
        SATN_FRONTEND_ERROR_NOT_FINITE);
  tone_double[17] = (double)tone[17] / 32768.0;
  CHECK(satn_frontend_stream_push_frames(stream, N_SAMPLES) == expected);
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(features.frames == expected);
  features.capacity = 3;
  CHECK(satn_frontend_stream_finish(stream, &features, message, sizeof message) == SATN_FRONTEND_ERROR_CAPACITY);
  features.capacity = 4;
  CHECK(satn_frontend_stream_finish(stream, &features, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(features.frames == 4);
  CHECK(satn_frontend_stream_finish(stream, &features, message, sizeof message) == SATN_FRONTEND_ERROR_FINISHED);
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, sizeof message) == SATN_FRONTEND_ERROR_FINISHED);
  satn_frontend_stream_reset(stream);
  features.capacity = MAX_ROWS;
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);
  satn_frontend_stream_destroy(stream);
  satn_frontend_plan_destroy(plan);

  options = preset(SATN_FRONTEND_LIBROSA);
  plan = make_plan(&options);
  stream = (satn_frontend_stream *)&options;
  CHECK(satn_frontend_stream_create(plan, &stream, message, sizeof message) == SATN_FRONTEND_ERROR_NOT_STREAMABLE);
  CHECK(stream == NULL && strstr(message, "top_db") != NULL);
  satn_frontend_plan_destroy(plan);
}

/* Memory that is misplaced or too small is refused, the message names what it takes, and plan and stream may be
 * destroyed in any order. */
static void test_callers_memory(void) {
  satn_frontend_options options = preset(SATN_FRONTEND_KALDI);
  size_t plan_bytes = 0;
  char needed[32];
  CHECK(satn_frontend_plan_bytes(&options, &plan_bytes, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(satn_frontend_plan_bytes(&options, NULL, message, sizeof message) == SATN_FRONTEND_ERROR_ARGUMENT);
  CHECK(plan_bytes > 0 && plan_bytes < 16384);
  unsigned char *block = malloc(1 << 19);
  unsigned char *memory = block + SATN_FRONTEND_MEMORY_ALIGNMENT - (uintptr_t)block % SATN_FRONTEND_MEMORY_ALIGNMENT;

  satn_frontend_plan *plan = (satn_frontend_plan *)memory;
  CHECK(satn_frontend_plan_create_in(&options, memory, plan_bytes - 1, &plan, message, sizeof message) ==
        SATN_FRONTEND_ERROR_MEMORY);
  snprintf(needed, sizeof needed, " %lu ", (unsigned long)plan_bytes);
  CHECK(plan == NULL && strstr(message, needed) != NULL);
  CHECK(satn_frontend_plan_create_in(&options, NULL, plan_bytes, &plan, message, sizeof message) ==
        SATN_FRONTEND_ERROR_MEMORY);
  CHECK(satn_frontend_plan_create_in(&options, memory + 8, 65536, &plan, message, sizeof message) ==
        SATN_FRONTEND_ERROR_ARGUMENT);
  CHECK(strstr(message, "64") != NULL);
  CHECK(satn_frontend_plan_create_in(&options, memory, plan_bytes, &plan, message, sizeof message) == SATN_FRONTEND_OK);

  unsigned char *rest = memory + plan_bytes;
  const size_t stream_bytes = satn_frontend_stream_bytes(plan);
  CHECK(satn_frontend_stream_bytes(NULL) == 0);
  CHECK(stream_bytes > 0 && stream_bytes < 1 << 18);
  satn_frontend_stream *stream = (satn_frontend_stream *)memory;
  CHECK(satn_frontend_stream_create_in(plan, rest, stream_bytes - 1, &stream, message, sizeof message) ==
        SATN_FRONTEND_ERROR_MEMORY);
  snprintf(needed, sizeof needed, " %lu ", (unsigned long)stream_bytes);
  CHECK(stream == NULL && strstr(message, needed) != NULL);
  CHECK(satn_frontend_stream_create_in(plan, rest + 1, 1 << 18, &stream, message, sizeof message) ==
        SATN_FRONTEND_ERROR_ARGUMENT);
  CHECK(satn_frontend_stream_create_in(plan, rest, stream_bytes, &stream, message, sizeof message) == SATN_FRONTEND_OK);

  satn_frontend_plan *heap_plan = make_plan(&options);
  const satn_frontend_audio audio = {tone, N_SAMPLES, SATN_FRONTEND_INT16};
  satn_frontend_features expected = {whole, MAX_ROWS, 0, SATN_FRONTEND_FLOAT32};
  satn_frontend_features features = {pieces, MAX_ROWS, 0, SATN_FRONTEND_FLOAT32};
  CHECK(satn_frontend_compute(heap_plan, &audio, &expected, message, sizeof message) == SATN_FRONTEND_OK);
  satn_frontend_plan_destroy(plan);
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(features.frames == expected.frames - 4);
  CHECK(memcmp(whole, pieces, features.frames * 120 * sizeof(float)) == 0);
  satn_frontend_stream_destroy(stream);
  satn_frontend_plan_destroy(heap_plan);
  free(block);
}

int main(void) {
  make_tone();
  CHECK(strlen(satn_frontend_version()) >= 5);
  test_known_answer();
  test_compute_every_format();
  test_stream_equals_whole();
  test_bad_options();
  test_bad_arguments();
  test_bad_audio();
  test_stream_errors_change_nothing();
  test_callers_memory();
  if (failures > 0) {
    fprintf(stderr, "%d checks failed\n", failures);
    return 1;
  }
  puts("all checks passed");
  return 0;
}
