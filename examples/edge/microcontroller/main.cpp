/* Listens, and shows after every chunk which emotion the last seconds were spoken with. */
#include <cmath>

#include "board.h"
#include "listener.h"
#include "recognizer.h"
#include "satn_model.h"

namespace {

constexpr size_t kMaxHop = 1920; /* 40 ms at 48 kHz */

void require(const char* complaint) {
  if (complaint != nullptr) {
    board_fail(complaint);
  }
}

void show_best(const float* logits) {
  int best = 0;
  float sum = 0.0F;
  for (int i = 1; i < SATN_MODEL_LABELS; ++i) {
    best = logits[i] > logits[best] ? i : best;
  }
  for (int i = 0; i < SATN_MODEL_LABELS; ++i) {
    sum += std::exp(logits[i] - logits[best]);
  }
  board_show(satn_model_labels[best], 1.0F / sum);
}

}  // namespace

int main() {
  static int16_t samples[kMaxHop];
  static float logits[SATN_MODEL_LABELS];
  require(listener_start());
  require(recognizer::start());
  require(listener_hop() > kMaxHop ? "the front end's hop is longer than kMaxHop samples" : nullptr);
  for (;;) {
    const int8_t* chunk = nullptr;
    board_listen(samples, listener_hop());
    require(listener_push(samples, listener_hop(), &chunk));
    if (chunk != nullptr) {
      require(recognizer::step(chunk, logits));
      show_best(logits);
    }
  }
}
