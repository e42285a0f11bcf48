#include "listener.h"

#include "satn_frontend.h"
#include "satn_host.h"

#define ALIGNED __attribute__((aligned(SATN_FRONTEND_MEMORY_ALIGNMENT)))

/* Enough for 64 bands, windows of 50 ms and a hop of 40 ms at 16 kHz; 40 bands, 25 ms and 10 ms take half of it. Where it
 * is not, the message says how much it takes. */
static ALIGNED unsigned char plan_memory[18 * 1024];
static ALIGNED unsigned char stream_memory[18 * 1024];
static char message[SATN_FRONTEND_MESSAGE_SIZE];
static satn_frontend_stream *stream;
static size_t hop;

static satn_host host;
static int8_t rows[SATN_MODEL_CHUNK_FRAMES][SATN_MODEL_FEATURES];
static size_t row_count;

const char *listener_start(void) {
  const satn_frontend_options options = SATN_MODEL_FRONT_END;
  satn_frontend_plan *plan = NULL;
  if (satn_frontend_plan_create_in(&options, plan_memory, sizeof plan_memory, &plan, message, sizeof message) ||
      satn_frontend_stream_create_in(plan, stream_memory, sizeof stream_memory, &stream, message, sizeof message)) {
    return message;
  }
  if (satn_frontend_feature_count(plan) != SATN_MODEL_FEATURES) {
    return "the front end gives other features than the model takes: generate satn_model.h again";
  }
  hop = satn_frontend_hop_length(plan);
  satn_host_reset(&host);
  return NULL;
}

void listener_reset(void) {
  satn_frontend_stream_reset(stream);
  satn_host_reset(&host);
  row_count = 0;
}

size_t listener_hop(void) {
  return hop;
}

const char *listener_push(const int16_t *samples, size_t count, const int8_t **chunk) {
  static float row[SATN_MODEL_FEATURES];
  const satn_frontend_audio audio = {samples, count, SATN_FRONTEND_INT16};
  satn_frontend_features features = {row, 1, 0, SATN_FRONTEND_FLOAT32};
  *chunk = NULL;
  if (satn_frontend_stream_push(stream, &audio, &features, message, sizeof message)) {
    return message;
  }
  if (features.frames == 1) {
    satn_host_quantize(&host, row, rows[row_count]);
    row_count = (row_count + 1) % SATN_MODEL_CHUNK_FRAMES;
    *chunk = row_count == 0 ? rows[0] : NULL;
  }
  return NULL;
}
