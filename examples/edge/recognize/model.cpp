#include "model.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "error.h"

namespace {

constexpr char kFeatures[] = "features", kLogits[] = "logits";

/* Frames that a stream hears in one step at most: attention to longer ones would cost memory with their square. */
constexpr size_t kLongestStep = 256;

std::vector<const char*> pointers(const std::vector<std::string>& names) {
  std::vector<const char*> result;
  result.reserve(names.size());
  for (const std::string& name : names) {
    result.push_back(name.c_str());
  }
  return result;
}

/* The first line of what ONNX Runtime has to say. */
std::string reason(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

std::vector<float> softmax(const float* logits, size_t count) {
  const float largest = *std::max_element(logits, logits + count);
  std::vector<float> shares(count);
  float sum = 0.0F;
  for (size_t i = 0; i < count; ++i) {
    sum += shares[i] = std::exp(logits[i] - largest);
  }
  for (float& share : shares) {
    share /= sum;
  }
  return shares;
}

}  // namespace

Model::Model(const std::string& path) {
  if (!std::ifstream(path)) {
    throw Error(path + ": cannot be read (" + std::strerror(errno) + "); give a file that satn-fast export wrote");
  }
  try {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1); /* a model this small is slower on several */
    session_ = Ort::Session(environment_, path.c_str(), options);
  } catch (const Ort::Exception& error) {
    throw Error(path + ": is no ONNX model (" + reason(error) + "); give model.onnx or model.int8.onnx");
  }
  read_metadata(path);
  input_names_ = session_.GetInputNames();
  if (input_names_.empty() || input_names_[0] != kFeatures) {
    throw Error(path + ": does not take features; give a model of one utterance, or of a stream, without audio input");
  }
  state_names_.assign(input_names_.begin() + 1, input_names_.end());
  output_names_ = {kLogits};
  const std::vector<std::string> given = session_.GetOutputNames();
  for (const std::string& name : state_names_) {
    output_names_.push_back(std::string("next_").append(name));
    if (std::find(given.begin(), given.end(), output_names_.back()) == given.end()) {
      throw Error(std::string(path).append(": takes ").append(name) +
                  ", which no step of a stream does; give a model of one utterance");
    }
  }
  reset();
}

void Model::read_metadata(const std::string& path) {
  const Ort::AllocatorWithDefaultOptions allocator;
  const auto text = session_.GetModelMetadata().LookupCustomMetadataMapAllocated("satn_fast", allocator);
  if (text == nullptr) {
    throw Error(path + ": holds no satn_fast metadata; give a file that satn-fast export wrote");
  }
  try {
    const auto metadata = nlohmann::json::parse(text.get());
    labels_ = metadata.at("labels").get<std::vector<std::string>>();
    front_end_ = metadata.at("front_end").dump();
  } catch (const nlohmann::json::exception& error) {
    throw Error(path + ": has damaged satn_fast metadata (" + reason(error) + "); export the model again");
  }
}

void Model::reset() {
  const Ort::AllocatorWithDefaultOptions allocator;
  state_.clear();
  for (size_t i = 0; i < state_names_.size(); ++i) {
    const auto type = session_.GetInputTypeInfo(i + 1);
    const auto tensor = type.GetTensorTypeAndShapeInfo();
    const std::vector<int64_t> shape = tensor.GetShape();
    state_.push_back(Ort::Value::CreateTensor(allocator, shape.data(), shape.size(), tensor.GetElementType()));
    std::memset(state_.back().GetTensorMutableRawData(), 0, state_.back().GetTensorSizeInBytes());
  }
}

std::vector<float> Model::hear(const Features& features) {
  const size_t width = features.values.size() / features.frames;
  const size_t longest = streams() ? kLongestStep : features.frames;
  std::vector<float> probabilities;
  for (size_t start = 0; start < features.frames; start += longest) {
    const size_t frames = std::min(longest, features.frames - start);
    const auto first = features.values.begin() + static_cast<std::ptrdiff_t>(start * width);
    probabilities = step({first, first + static_cast<std::ptrdiff_t>(frames * width)}, frames);
  }
  return probabilities;
}

std::vector<float> Model::step(std::vector<float> values, size_t frames) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const int64_t shape[] = {1, static_cast<int64_t>(frames), static_cast<int64_t>(values.size() / frames)};
  std::vector<Ort::Value> inputs;
  inputs.push_back(Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), shape, std::size(shape)));
  std::move(state_.begin(), state_.end(), std::back_inserter(inputs));
  std::vector<Ort::Value> outputs = session_.Run(Ort::RunOptions{nullptr}, pointers(input_names_).data(), inputs.data(),
                                                 inputs.size(), pointers(output_names_).data(), output_names_.size());
  state_.assign(std::make_move_iterator(outputs.begin() + 1), std::make_move_iterator(outputs.end()));
  return softmax(outputs[0].GetTensorData<float>(), labels_.size());
}
