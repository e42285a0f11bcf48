/* The schema of .tflite files: a model's version, and the operators of a step. */
#ifndef SCHEMA_GENERATED_H
#define SCHEMA_GENERATED_H

#include <cstdint>
#include <cstring>

namespace tflite {

enum BuiltinOperator : int32_t {
  BuiltinOperator_ADD = 0,
  BuiltinOperator_CONCATENATION = 2,
  BuiltinOperator_CONV_2D = 3,
  BuiltinOperator_FULLY_CONNECTED = 9,
  BuiltinOperator_L2_NORMALIZATION = 11,
  BuiltinOperator_MAX_POOL_2D = 17,
  BuiltinOperator_MUL = 18,
  BuiltinOperator_RESHAPE = 22,
  BuiltinOperator_SOFTMAX = 25,
  BuiltinOperator_TANH = 28,
  BuiltinOperator_GATHER = 36,
  BuiltinOperator_TRANSPOSE = 39,
  BuiltinOperator_MEAN = 40,
  BuiltinOperator_SUB = 41,
  BuiltinOperator_SLICE = 65,
  BuiltinOperator_SUM = 74,
  BuiltinOperator_RSQRT = 76,
  BuiltinOperator_SQUARED_DIFFERENCE = 99,
  BuiltinOperator_QUANTIZE = 114,
  BuiltinOperator_BATCH_MATMUL = 126
};

/* A table of a flatbuffer: it starts with the way back to its fields' offsets. */
class Model {
 public:
  uint32_t version() const {
    const auto* table = reinterpret_cast<const uint8_t*>(this);
    const uint8_t* offsets = table - read<int32_t>(table);
    return read<uint32_t>(table + read<uint16_t>(offsets + 4));
  }

 private:
  template <typename T>
  static T read(const uint8_t* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
};

inline const Model* GetModel(const void* file) {
  uint32_t root = 0;
  std::memcpy(&root, file, sizeof root);
  return reinterpret_cast<const Model*>(static_cast<const uint8_t*>(file) + root);
}

}  // namespace tflite

#endif
