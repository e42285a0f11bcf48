/* recognizer: the model, run by TFLite Micro. */
#ifndef RECOGNIZER_H
#define RECOGNIZER_H

#include <cstdint>

namespace recognizer {

/* Once, and for each new utterance `reset`. Gives nullptr, or what is wrong. */
const char* start();
void reset();

/* One step: SATN_MODEL_CHUNK_FRAMES rows in, SATN_MODEL_LABELS logits out. Gives nullptr, or what is wrong. */
const char* step(const int8_t* chunk, float* logits);

}  // namespace recognizer

#endif
