/* Prints the model's input for a known signal, which tests/export/test_microcontroller.py compares with Python's. */
#include <stdint.h>

#include "console.h"
#include "listener.h"

#define N_SAMPLES 16000

static int16_t samples[N_SAMPLES];

/* A gliding square wave and noise that grows, from whole numbers only: the same samples on every machine. */
static void make_signal(void) {
  uint32_t noise = 1, phase = 0;
  for (uint32_t i = 0; i < N_SAMPLES; ++i) {
    noise = noise * 1664525U + 1013904223U;
    phase += 60000000U + 4000U * i;
    samples[i] = (int16_t)((phase >> 31 ? 3000 : -3000) + (int32_t)((noise >> 20) * i / N_SAMPLES));
  }
}

static void write_chunk(const int8_t *chunk) {
  char text[3] = "00";
  for (int i = 0; i < SATN_MODEL_CHUNK_FRAMES * SATN_MODEL_FEATURES; ++i) {
    const unsigned byte = (unsigned)(chunk[i] & 0xff);
    text[0] = "0123456789abcdef"[byte >> 4];
    text[1] = "0123456789abcdef"[byte & 15];
    console_write(text);
  }
  console_write("\n");
}

int main(void) {
  const char *complaint = listener_start();
  make_signal();
  for (size_t start = 0; complaint == 0 && start + listener_hop() <= N_SAMPLES; start += listener_hop()) {
    const int8_t *chunk = 0;
    complaint = listener_push(samples + start, listener_hop(), &chunk);
    if (chunk != 0) {
      write_chunk(chunk);
    }
  }
  if (complaint != 0) {
    console_write(complaint);
  }
  return complaint != 0;
}
