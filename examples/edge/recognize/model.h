/* model: an exported .onnx file, run by ONNX Runtime on one thread. */
#ifndef MODEL_H
#define MODEL_H

#include <string>
#include <vector>

#include "features.h"
#include "onnxruntime_cxx_api.h"

class Model {
 public:
  /* What `satn-fast export` wrote: model.onnx, model.int8.onnx, model.stream.onnx or model.stream.int8.onnx. Throws
   * Error. */
  explicit Model(const std::string& path);

  const std::vector<std::string>& labels() const { return labels_; }

  /* The JSON that FrontEnd takes. */
  const std::string& front_end() const { return front_end_; }

  /* Whether it hears an utterance piece by piece. */
  bool streams() const { return !state_names_.empty(); }

  /* Forgets what was heard: the next features begin an utterance. */
  void reset();

  /* Probabilities of the labels, after these frames (one or more) and, in a stream, those before them. */
  std::vector<float> hear(const Features& features);

 private:
  void read_metadata(const std::string& path);
  std::vector<float> step(std::vector<float> values, size_t frames);

  Ort::Env environment_{ORT_LOGGING_LEVEL_FATAL, "recognize"};
  Ort::Session session_{nullptr};
  std::vector<std::string> labels_;
  std::string front_end_;
  std::vector<std::string> input_names_, output_names_;
  std::vector<std::string> state_names_; /* input_names_ without the first, the features */
  std::vector<Ort::Value> state_;
};

#endif
