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
    sum += features[i] - satn_model_mean[i];
  }
  return sum / (float)SATN_MODEL_BANDS;
}
#endif

void satn_host_quantize(satn_host *host, const float *features, int8_t *quantized) {
  /* A stream of 497 days stays at the last share, and does not begin anew. */
  host->frames += host->frames < UINT32_MAX - SATN_MODEL_PRIOR_FRAMES;
#if SATN_MODEL_RUNNING_LEVEL || SATN_MODEL_RUNNING_NORMALIZATION
  const float frames = (float)(host->frames + SATN_MODEL_PRIOR_FRAMES);
#endif
#if SATN_MODEL_RUNNING_LEVEL
  host->running_level += (level_of(features) - host->running_level) / frames;
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
