/* TFLite Micro's interpreter. */
#ifndef MICRO_INTERPRETER_H
#define MICRO_INTERPRETER_H

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/micro/names.h"
#include "tensorflow/lite/schema/schema_generated.h"

#define TFLITE_SCHEMA_VERSION (3)

BEGIN_C_NAMES

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

/* As far as `data`; there are only pointers to it. */
struct TfLiteTensor {
  struct {
    int type;
    void* params;
  } quantization;
  struct {
    float scale;
    int32_t zero_point;
  } params;
  union {
    int8_t* int8;
    void* data;
  } data;
};

END_C_NAMES

BEGIN_NAMES

class MicroResourceVariables;
class MicroProfilerInterface;
struct TFLMRegistration;

class MicroOpResolver {
 public:
  using Parser = TfLiteStatus (*)(const void*, void*, void**);
  virtual const TFLMRegistration* FindOp(BuiltinOperator code) const = 0;
  virtual const TFLMRegistration* FindOp(const char* custom_name) const = 0;
  virtual Parser GetOpDataParser(BuiltinOperator code) const = 0;
  virtual ~MicroOpResolver() = default;
};

class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, uint8_t* arena, size_t arena_bytes,
                   MicroResourceVariables* variables = nullptr, MicroProfilerInterface* profiler = nullptr,
                   bool preserve_all_tensors = false);
  ~MicroInterpreter();
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteTensor* input(size_t index);
  TfLiteTensor* output(size_t index);

 private:
  alignas(16) unsigned char members_[4096]; /* more than enough */
};

END_NAMES

#endif
