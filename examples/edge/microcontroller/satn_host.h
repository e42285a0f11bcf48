/* satn_host: makes features into the model's input, as satn_fast.export.micro.host does in Python, to the last bit. */
#ifndef SATN_HOST_H
#define SATN_HOST_H

#include <stdint.h>

#include "satn_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is remembered of an utterance. The running mean is a float: it moves by less and less the longer the utterance,
 * and in the model's int8 it would soon stand still. */
typedef struct satn_host {
  uint32_t frames;
#if SATN_MODEL_RUNNING_LEVEL
  float running_level; /* of all bands together, weighted by the loudness of each frame */
  float loudness;      /* of all frames so far */
#else
  float running_mean[SATN_MODEL_FEATURES];
#endif
} satn_host;

/* Before each utterance. */
void satn_host_reset(satn_host* host);

/* One frame: SATN_MODEL_FEATURES features in, as many integers out. */
void satn_host_quantize(satn_host* host, const float* features, int8_t* quantized);

#ifdef __cplusplus
}
#endif

#endif
