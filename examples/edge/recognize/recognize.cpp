/* recognize: which emotion speech was spoken with, from WAV files or as it is heard. */
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "audio.h"
#include "error.h"
#include "features.h"
#include "model.h"

namespace {

constexpr char kHelp[] =
    "Usage: recognize MODEL.onnx FILE.wav...\n"
    "       recognize MODEL.onnx - < speech.pcm\n"
    "\n"
    "Prints for every file the most probable label and the probabilities of all. Files are RIFF WAVs of 16-bit PCM,\n"
    "mono, at the rate of the model's front end; `-` is bare 16-bit little-endian samples on standard input.\n"
    "\n"
    "The model is model.onnx or model.int8.onnx of `satn-fast export`, which hears whole utterances, or\n"
    "model.stream.onnx or model.stream.int8.onnx, which with `-` says every half second what it makes of the speech "
    "so\n"
    "far. Labels and front end stand in the file.\n"
    "\n"
    "Exit status: 0 done, 1 a file cannot be used, 2 usage.\n"
    "\n"
    "  arecord -q -t raw -f S16_LE -r 16000 -c 1 | recognize model.stream.int8.onnx -\n";

constexpr int kPiecesPerSecond = 10;
constexpr size_t kPiecesPerLine = 5;

void print(const std::string& name, const Model& model, const std::vector<float>& probabilities) {
  const auto best = std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin();
  std::printf("%s: %s (", name.c_str(), model.labels()[static_cast<size_t>(best)].c_str());
  for (size_t i = 0; i < probabilities.size(); ++i) {
    std::printf("%s%s %.6f", i == 0 ? "" : ", ", model.labels()[i].c_str(), static_cast<double>(probabilities[i]));
  }
  std::puts(")");
  std::fflush(stdout); /* who listens live wants each line when it is ready */
}

/* Up to `count` samples; none at the end. */
std::vector<int16_t> next_piece(std::istream& from, size_t count) {
  std::string bytes(2 * count, '\0');
  from.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(from.gcount()));
  return samples_of(bytes);
}

void recognize_utterance(const std::string& name, Model& model, const FrontEnd& front_end,
                         const std::vector<int16_t>& samples) {
  const Features features = front_end.compute(samples);
  if (features.frames == 0) {
    throw Error(name + ": is too short for one frame; give at least " + std::to_string(front_end.frame_length()) +
                " samples");
  }
  model.reset();
  print(name, model, model.hear(features));
}

/* Prints every half second, and when the samples end. */
void listen(Model& model, FrontEnd& front_end, std::istream& from) {
  const auto length = static_cast<size_t>(front_end.rate() / kPiecesPerSecond);
  std::vector<float> latest;
  const auto hear = [&](const Features& features) {
    if (features.frames > 0) {
      latest = model.hear(features);
    }
  };
  size_t heard = 0;
  for (auto samples = next_piece(from, length); !samples.empty(); samples = next_piece(from, length)) {
    hear(front_end.push(samples));
    heard += samples.size();
    if (heard % (kPiecesPerLine * length) == 0 && !latest.empty()) {
      char seconds[32];
      std::snprintf(seconds, sizeof seconds, "%.1f s", static_cast<double>(heard) / front_end.rate());
      print(seconds, model, latest);
    }
  }
  hear(front_end.finish());
  if (latest.empty()) {
    throw Error("standard input: is too short for one frame; give at least " +
                std::to_string(front_end.frame_length()) + " samples");
  }
  print("end", model, latest);
}

void run(const std::string& path, const std::vector<std::string>& sources) {
  Model model(path);
  FrontEnd front_end(model.front_end());
  for (const std::string& source : sources) {
    if (source != "-") {
      recognize_utterance(source, model, front_end, read_wav(source, front_end.rate()));
    } else if (model.streams()) {
      listen(model, front_end, std::cin);
    } else {
      const std::string bytes{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
      recognize_utterance("standard input", model, front_end, samples_of(bytes));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 1 && arguments[0] == "--help") {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (arguments.size() < 2) {
    std::fputs("recognize: give a model and a WAV file, or - for standard input; see --help\n", stderr);
    return 2;
  }
  try {
    run(arguments[0], {arguments.begin() + 1, arguments.end()});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "recognize: %s\n", error.what());
    return 1;
  }
  return 0;
}
