/* listener: audio in, chunks of the model's input out. All memory is static. */
#ifndef LISTENER_H
#define LISTENER_H

#include <stddef.h>
#include <stdint.h>

#include "satn_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Once. NULL, or what is wrong. */
const char* listener_start(void);

/* Forgets what was heard: the next audio begins an utterance. */
void listener_reset(void);

/* Samples that listener_push takes at most: the hop of the model's front end, 160 for 10 ms at 16 kHz. */
size_t listener_hop(void);

/* Hears up to listener_hop() samples. `*chunk` becomes the SATN_MODEL_CHUNK_FRAMES rows that they completed, good until
 * the next call, or NULL. Gives NULL, or what is wrong. */
const char* listener_push(const int16_t* samples, size_t count, const int8_t** chunk);

#ifdef __cplusplus
}
#endif

#endif
