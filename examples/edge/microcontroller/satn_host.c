/* Compile with -ffp-contract=off: a fused multiply-add rounds otherwise than Python. */
#include "satn_host.h"

#include <math.h>
#include <string.h>

void satn_host_reset(satn_host *host) {
  memset(host, 0, sizeof *host);
}

static int8_t to_int8(float value) {
  return (int8_t)(value < -128.0F ? -128.0F : value > 127.0F ? 127.0F : value);
}

#if SATN_MODEL_RUNNING_LEVEL
/* The mean over bands of a frame. */
static float level_of(const float *features) {
  float sum = 0.0F;
  for (int i = 0; i < SATN_MODEL_BANDS; ++i) {
    sum += features[i];
  }
  return sum / (float)SATN_MODEL_BANDS;
}

/* The exponential to 3e-6 of itself; that of libraries differs in the last bit. */
static float exponential(float x) {
  const float n = rintf(x * 1.44269504F);
  const float r = x - n * 0.693145752F - n * 1.42860677e-6F;
  const float p = 1.0F + r * (1.0F + r * (0.5F + r * (1.0F / 6.0F + r * (1.0F / 24.0F + r * (1.0F / 120.0F)))));
  return ldexpf(p, (int)n);
}

/* Moves the running level towards that of a frame, by the frame's share in the loudness of all frames. */
static void hear_level(satn_host *host, float level) {
  const float largest = SATN_MODEL_LARGEST_LEVEL;
  const float bounded = level < -largest ? -largest : level > largest ? largest : level;
  const float loudness = exponential(SATN_MODEL_LOUDNESS_EXPONENT * bounded);
  host->loudness += loudness;
  host->running_level += (level - host->running_level) * (loudness / host->loudness);
}
#endif

void satn_host_quantize(satn_host *host, const float *features, int8_t *quantized) {
  /* A stream of 497 days stays at the last share, and does not begin anew. */
  host->frames += host->frames < UINT32_MAX - SATN_MODEL_PRIOR_FRAMES;
#if SATN_MODEL_RUNNING_NORMALIZATION
  const float frames = (float)(host->frames + SATN_MODEL_PRIOR_FRAMES);
#elif SATN_MODEL_RUNNING_LEVEL
  hear_level(host, level_of(features));
#endif
  for (int i = 0; i < SATN_MODEL_FEATURES; ++i) {
    float x = features[i] - satn_model_mean[i];
#if SATN_MODEL_RUNNING_LEVEL
    x -= i < SATN_MODEL_BANDS ? host->running_level : 0.0F; /* deltas have no level */
#elif SATN_MODEL_RUNNING_NORMALIZATION
    host->running_mean[i] += (x - host->running_mean[i]) / frames;
    x -= host->running_mean[i];
#endif
    quantized[i] = to_int8(rintf(x * satn_model_factor[i]) + (float)SATN_MODEL_FEATURE_ZERO_POINT);
  }
}
