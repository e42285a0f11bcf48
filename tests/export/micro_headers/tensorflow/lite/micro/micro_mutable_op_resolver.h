/* The operators that a program registers. The library's own such class knows all of them: a registered one is looked up
 * there. */
#ifndef MICRO_MUTABLE_OP_RESOLVER_H
#define MICRO_MUTABLE_OP_RESOLVER_H

#include <algorithm>

#include "tensorflow/lite/micro/micro_interpreter.h"

BEGIN_NAMES

/* The library's. */
const MicroOpResolver& every_operator();

template <unsigned int capacity>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  TfLiteStatus AddAdd() { return add(BuiltinOperator_ADD); }
  TfLiteStatus AddBatchMatMul() { return add(BuiltinOperator_BATCH_MATMUL); }
  TfLiteStatus AddConcatenation() { return add(BuiltinOperator_CONCATENATION); }
  TfLiteStatus AddConv2D() { return add(BuiltinOperator_CONV_2D); }
  TfLiteStatus AddFullyConnected() { return add(BuiltinOperator_FULLY_CONNECTED); }
  TfLiteStatus AddGather() { return add(BuiltinOperator_GATHER); }
  TfLiteStatus AddL2Normalization() { return add(BuiltinOperator_L2_NORMALIZATION); }
  TfLiteStatus AddMaxPool2D() { return add(BuiltinOperator_MAX_POOL_2D); }
  TfLiteStatus AddMean() { return add(BuiltinOperator_MEAN); }
  TfLiteStatus AddMul() { return add(BuiltinOperator_MUL); }
  TfLiteStatus AddQuantize() { return add(BuiltinOperator_QUANTIZE); }
  TfLiteStatus AddReshape() { return add(BuiltinOperator_RESHAPE); }
  TfLiteStatus AddRsqrt() { return add(BuiltinOperator_RSQRT); }
  TfLiteStatus AddSlice() { return add(BuiltinOperator_SLICE); }
  TfLiteStatus AddSoftmax() { return add(BuiltinOperator_SOFTMAX); }
  TfLiteStatus AddSquaredDifference() { return add(BuiltinOperator_SQUARED_DIFFERENCE); }
  TfLiteStatus AddSub() { return add(BuiltinOperator_SUB); }
  TfLiteStatus AddSum() { return add(BuiltinOperator_SUM); }
  TfLiteStatus AddTanh() { return add(BuiltinOperator_TANH); }
  TfLiteStatus AddTranspose() { return add(BuiltinOperator_TRANSPOSE); }

  const TFLMRegistration* FindOp(BuiltinOperator code) const override {
    return added(code) ? every_operator().FindOp(code) : nullptr;
  }
  const TFLMRegistration* FindOp(const char*) const override { return nullptr; }
  Parser GetOpDataParser(BuiltinOperator code) const override {
    return added(code) ? every_operator().GetOpDataParser(code) : nullptr;
  }

 private:
  TfLiteStatus add(BuiltinOperator code) {
    if (count_ == capacity || added(code)) {
      return kTfLiteError;
    }
    codes_[count_++] = code;
    return kTfLiteOk;
  }
  bool added(BuiltinOperator code) const { return std::find(codes_, codes_ + count_, code) != codes_ + count_; }

  BuiltinOperator codes_[capacity] = {};
  unsigned int count_ = 0;
};

END_NAMES

#endif
