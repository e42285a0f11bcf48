#include "recognizer.h"

#include <cstring>

#include "satn_model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

// TFLite Micro's names stand in `tflite`, or since autumn 2026 in `tflite::micro`.
namespace tflite::micro {}
using namespace tflite;
using namespace tflite::micro;

namespace recognizer {
namespace {

// Found with TFLite Micro's reference kernels on a 64-bit machine. Those of CMSIS-NN want scratch memory of their own:
// where AllocateTensors fails, give it more.
alignas(16) uint8_t arena[SATN_MODEL_ARENA_BYTES];

MicroInterpreter* interpreter = nullptr;

using Resolver = MicroMutableOpResolver<20>;

// Everything that a step is made of: CONV_2D and MAX_POOL_2D where a model has spectral convolutions; SUM, MUL,
// SQUARED_DIFFERENCE and RSQRT where it pools deviations.
bool add_operators(Resolver& resolver) {
  return resolver.AddAdd() == kTfLiteOk && resolver.AddBatchMatMul() == kTfLiteOk &&
         resolver.AddConcatenation() == kTfLiteOk && resolver.AddConv2D() == kTfLiteOk &&
         resolver.AddFullyConnected() == kTfLiteOk && resolver.AddGather() == kTfLiteOk &&
         resolver.AddL2Normalization() == kTfLiteOk && resolver.AddMaxPool2D() == kTfLiteOk &&
         resolver.AddMean() == kTfLiteOk && resolver.AddMul() == kTfLiteOk && resolver.AddQuantize() == kTfLiteOk &&
         resolver.AddReshape() == kTfLiteOk && resolver.AddRsqrt() == kTfLiteOk && resolver.AddSlice() == kTfLiteOk &&
         resolver.AddSoftmax() == kTfLiteOk && resolver.AddSquaredDifference() == kTfLiteOk &&
         resolver.AddSub() == kTfLiteOk && resolver.AddSum() == kTfLiteOk && resolver.AddTanh() == kTfLiteOk &&
         resolver.AddTranspose() == kTfLiteOk;
}

// A state's input shares its memory with other tensors while the model runs, so states are kept here in between.
int8_t states[SATN_MODEL_STATE_BYTES];

template <typename Copy>
void for_each_state(Copy copy) {
  int8_t* state = states;
  for (const satn_model_state& entry : satn_model_states) {
    copy(entry, state);
    state += entry.bytes;
  }
}

}  // namespace

const char* start() {
  static Resolver resolver;
  const Model* model = GetModel(satn_model_data);
  if (model->version() != TFLITE_SCHEMA_VERSION) {
    return "the model is of another version of TFLite's schema";
  }
  if (!add_operators(resolver)) {
    return "an operator could not be registered";
  }
  static MicroInterpreter instance(model, resolver, arena, sizeof arena);
  if (instance.AllocateTensors() != kTfLiteOk) {
    return "the arena is too small: raise SATN_MODEL_ARENA_BYTES";
  }
  interpreter = &instance;
  reset();
  return nullptr;
}

void reset() {
  for_each_state([](const satn_model_state& entry, int8_t* state) { std::memset(state, entry.initial, entry.bytes); });
}

const char* step(const int8_t* chunk, float* logits) {
  std::memcpy(interpreter->input(0)->data.int8, chunk, SATN_MODEL_CHUNK_FRAMES * SATN_MODEL_FEATURES);
  std::memset(interpreter->input(1)->data.int8, 0, SATN_MODEL_CHUNK_FRAMES);  // none of them is padding
  for_each_state([](const satn_model_state& entry, const int8_t* state) {
    std::memcpy(interpreter->input(static_cast<size_t>(entry.input))->data.int8, state, entry.bytes);
  });
  if (interpreter->Invoke() != kTfLiteOk) {
    return "the model failed";
  }
  for_each_state([](const satn_model_state& entry, int8_t* state) {
    std::memcpy(state, interpreter->output(static_cast<size_t>(entry.output))->data.int8, entry.bytes);
  });
  for (int i = 0; i < SATN_MODEL_LABELS; ++i) {
    logits[i] =
        SATN_MODEL_LOGIT_SCALE * static_cast<float>(interpreter->output(0)->data.int8[i] - SATN_MODEL_LOGIT_ZERO_POINT);
  }
  return nullptr;
}

}  // namespace recognizer
