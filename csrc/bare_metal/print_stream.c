/* Streams a known signal in static memory and prints the features, which tests/frontend/test_bare_metal.py compares
 * with those of the machine that builds. It needs neither a heap nor printf. */
#include <stdint.h>
#include <string.h>

#include "console.h"
#include "satn_frontend.h"

#define ALIGNED __attribute__((aligned(SATN_FRONTEND_MEMORY_ALIGNMENT)))
#define N_SAMPLES 8000
#define CHUNK 160

static ALIGNED unsigned char plan_memory[16384], stream_memory[16384];
static int16_t samples[N_SAMPLES];
static float rows[8 * 120];
static char message[SATN_FRONTEND_MESSAGE_SIZE];

static void write_unsigned(const char *name, uint32_t value) {
  char digits[11] = "";
  char *first = digits + sizeof digits - 1;
  do {
    *--first = (char)('0' + value % 10);
    value /= 10;
  } while (value > 0);
  console_write(name);
  console_write(first);
}

/* The bits of each number, in hexadecimal. */
static void write_row(const float *row, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    char text[10] = "00000000 ";
    memcpy(&bits, &row[i], sizeof bits);
    for (int digit = 7; digit >= 0; --digit, bits >>= 4) {
      text[digit] = "0123456789abcdef"[bits & 15];
    }
    console_write(text);
  }
  console_write("\n");
}

/* Two gliding square waves and noise that grows, from whole numbers only: the same samples on every machine. */
static void make_signal(void) {
  uint32_t noise = 1, slow = 0, quick = 0;
  for (uint32_t i = 0; i < N_SAMPLES; ++i) {
    noise = noise * 1664525U + 1013904223U;
    slow += 60000000U + 4000U * i;
    quick += 700000000U - 20000U * i;
    const int32_t tones = (slow >> 31 ? 3000 : -3000) + (quick >> 31 ? 500 : -500);
    samples[i] = (int16_t)(tones + (int32_t)((noise >> 20) * i / N_SAMPLES));
  }
}

static int check(satn_frontend_status status) {
  if (status != SATN_FRONTEND_OK) {
    console_write(message);
    console_write("\n");
  }
  return status == SATN_FRONTEND_OK;
}

static int stream_signal(satn_frontend_stream *stream, size_t width, uint32_t *ticks) {
  satn_frontend_features features = {rows, sizeof rows / sizeof rows[0] / width, 0, SATN_FRONTEND_FLOAT32};
  for (size_t start = 0; start <= N_SAMPLES; start += CHUNK) {
    const satn_frontend_audio audio = {samples + start, CHUNK, SATN_FRONTEND_INT16};
    const uint32_t before = console_ticks();
    const satn_frontend_status status =
        start < N_SAMPLES ? satn_frontend_stream_push(stream, &audio, &features, message, sizeof message)
                          : satn_frontend_stream_finish(stream, &features, message, sizeof message);
    const uint32_t spent = (console_ticks() - before) & 0xffffff;
    *ticks = start < N_SAMPLES && spent > *ticks ? spent : *ticks;
    if (!check(status)) {
      return 0;
    }
    for (size_t row = 0; row < features.frames; ++row) {
      write_row(rows + row * width, width);
    }
  }
  return 1;
}

static int run(const char *name, int32_t preset, int32_t sample_rate, int32_t deltas) {
  satn_frontend_options options;
  satn_frontend_plan *plan = NULL;
  satn_frontend_stream *stream = NULL;
  uint32_t ticks = 0;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  if (!check(satn_frontend_preset(&options, preset, sample_rate, 40, message, sizeof message))) {
    return 0;
  }
  options.deltas = deltas;
  size_t plan_bytes = 0;
  const uint32_t before = console_ticks();
  if (!check(satn_frontend_plan_bytes(&options, &plan_bytes, message, sizeof message)) ||
      !check(satn_frontend_plan_create_in(&options, plan_memory, sizeof plan_memory, &plan, message, sizeof message)) ||
      !check(satn_frontend_stream_create_in(plan, stream_memory, sizeof stream_memory, &stream, message,
                                            sizeof message))) {
    return 0;
  }
  const uint32_t creation = (console_ticks() - before) & 0xffffff;
  console_write(name);
  write_unsigned(" plan_bytes ", (uint32_t)plan_bytes);
  write_unsigned(" stream_bytes ", (uint32_t)satn_frontend_stream_bytes(plan));
  const size_t width = satn_frontend_feature_count(plan);
  satn_frontend_plan_destroy(plan); /* the stream keeps it */
  console_write("\n");
  const int done = stream_signal(stream, width, &ticks);
  satn_frontend_stream_destroy(stream);
  write_unsigned("ticks_of_creation ", creation);
  write_unsigned(" most_ticks_per_push ", ticks);
  console_write("\n");
  return done;
}

/* What cannot work is refused with a whole sentence here too. */
static int refuses(void) {
  satn_frontend_options options;
  satn_frontend_plan *plan = NULL;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  check(satn_frontend_preset(&options, SATN_FRONTEND_KALDI, 16000, 40, message, sizeof message));
  const satn_frontend_status too_small =
      satn_frontend_plan_create_in(&options, plan_memory, 1000, &plan, message, sizeof message);
  check(too_small);
  options.preemphasis = 1.25;
  const satn_frontend_status bad =
      satn_frontend_plan_create_in(&options, plan_memory, sizeof plan_memory, &plan, message, sizeof message);
  check(bad);
  return too_small == SATN_FRONTEND_ERROR_MEMORY && bad == SATN_FRONTEND_ERROR_OPTIONS && plan == NULL;
}

int main(void) {
  make_signal();
  const int done = run("kaldi-16000-deltas", SATN_FRONTEND_KALDI, 16000, 1) &&
                   run("kaldi-16000", SATN_FRONTEND_KALDI, 16000, 0) &&
                   run("kaldi-8000-deltas", SATN_FRONTEND_KALDI, 8000, 1) &&
                   run("torchaudio-16000-deltas", SATN_FRONTEND_TORCHAUDIO, 16000, 1) && refuses();
  write_unsigned("stack_bytes ", console_stack_bytes());
  console_write("\n");
  return done ? 0 : 1;
}
