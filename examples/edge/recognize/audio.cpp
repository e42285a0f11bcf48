#include "audio.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "error.h"

namespace {

constexpr uint32_t kPcm = 1, kExtensible = 0xFFFE;

/* A number of a RIFF, which are little-endian. */
uint32_t number(const std::string& bytes, size_t at, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return value;
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  file.peek(); /* a folder can be opened, but not read */
  if (!file.is_open() || file.bad()) {
    throw Error(path + ": cannot be read (" + std::strerror(errno) + ")");
  }
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

void check_format(const std::string& path, const std::string& bytes, size_t at, size_t size, int rate) {
  uint32_t format = number(bytes, at, 2);
  if (format == kExtensible && size >= 26) {
    format = number(bytes, at + 24, 2); /* the real one opens the sub-format */
  }
  const uint32_t channels = number(bytes, at + 2, 2);
  const uint32_t has = number(bytes, at + 4, 4);
  const uint32_t bits = number(bytes, at + 14, 2);
  if (channels != 1) {
    throw Error(path + ": has " + std::to_string(channels) + " channels; mix them down to one");
  }
  if (format != kPcm || bits != 16) {
    throw Error(path + ": is not 16-bit PCM (format " + std::to_string(format) + ", " + std::to_string(bits) +
                " bits); convert it");
  }
  if (has != static_cast<uint32_t>(rate)) {
    throw Error(path + ": has a sample rate of " + std::to_string(has) + " Hz, but the model hears " +
                std::to_string(rate) + " Hz; resample it");
  }
}

}  // namespace

std::vector<int16_t> samples_of(const std::string& bytes) {
  std::vector<int16_t> samples(bytes.size() / 2);
  for (size_t i = 0; i < samples.size(); ++i) {
    samples[i] = static_cast<int16_t>(number(bytes, 2 * i, 2));
  }
  return samples;
}

std::vector<int16_t> read_wav(const std::string& path, int rate) {
  constexpr size_t kHead = 12;
  constexpr size_t kChunkHead = 8;
  constexpr size_t kFormat = 16;
  const std::string bytes = read_bytes(path);
  if (bytes.size() < kHead || bytes.compare(0, 4, "RIFF") != 0 || bytes.compare(8, 4, "WAVE") != 0) {
    throw Error(path + ": is no RIFF WAV; convert it");
  }
  bool formatted = false;
  for (size_t at = kHead; at + kChunkHead <= bytes.size();) {
    const std::string name = bytes.substr(at, 4);
    const size_t size = number(bytes, at + 4, 4);
    const size_t left = bytes.size() - at - kChunkHead;
    at += kChunkHead;
    if (name == "data" && formatted) {
      /* A program that writes to a pipe cannot know the length beforehand, and claims the most. */
      if (size > left && size < 0x7FFFF000U) {
        throw Error(path + ": ends before its audio does; it is truncated");
      }
      return samples_of(bytes.substr(at, size));
    }
    if (size > left) {
      break;
    }
    if (name == "fmt " && size >= kFormat) {
      check_format(path, bytes, at, size, rate);
      formatted = true;
    }
    at += size + size % 2; /* chunks are padded to even sizes */
  }
  throw Error(path + ": holds no audio behind its format; it is damaged");
}
