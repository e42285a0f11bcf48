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

void satn_host_quantize(satn_host *host, const float *features, int8_t *quantized) {
  /* A stream of 497 days stays at the last share, and does not begin anew. */
  host->frames += host->frames < UINT32_MAX - SATN_MODEL_PRIOR_FRAMES;
  const float frames = (float)(host->frames + SATN_MODEL_PRIOR_FRAMES);
  for (int i = 0; i < SATN_MODEL_FEATURES; ++i) {
    float x = features[i] - satn_model_mean[i];
#if SATN_MODEL_RUNNING_NORMALIZATION
    host->running_mean[i] += (x - host->running_mean[i]) / frames;
    x -= host->running_mean[i];
#endif
    quantized[i] = to_int8(rintf(x * satn_model_factor[i]) + (float)SATN_MODEL_FEATURE_ZERO_POINT);
  }
}
