/* The recognizer as the test calls it, and the library's class of all operators. */
#include "recognizer.h"
#include "tensorflow/lite/micro/micro_interpreter.h"

namespace tflite {

/* In the library. */
class PythonOpsResolver : public micro::MicroOpResolver {
 public:
  PythonOpsResolver();
  ~PythonOpsResolver() override;
  const micro::TFLMRegistration* FindOp(BuiltinOperator code) const override;
  const micro::TFLMRegistration* FindOp(const char* custom_name) const override;
  Parser GetOpDataParser(BuiltinOperator code) const override;

 private:
  alignas(16) unsigned char members_[1 << 16]; /* more than enough */
};

namespace micro {

/* Behind a pointer, so that calls go by the table of the library's class. */
const MicroOpResolver& every_operator() {
  static const MicroOpResolver* const volatile all = new PythonOpsResolver;
  return *all;
}

}  // namespace micro
}  // namespace tflite

extern "C" {

const char* recognizer_start() { return recognizer::start(); }

void recognizer_reset() { recognizer::reset(); }

const char* recognizer_step(const int8_t* chunk, float* logits) { return recognizer::step(chunk, logits); }
}
