// A libFuzzer target: any text is either refused with a message and no effect, or options that survive being written.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "random_case.hpp"

namespace {

using satn::test::Message;
using satn::test::require;

satn_frontend_options blank() {
  satn_frontend_options options;
  std::memset(&options, 0xA5, sizeof options);
  options.size = sizeof options;
  return options;
}

// Byte by byte, padding included.
bool is_blank(const satn_frontend_options& options) {
  const satn_frontend_options untouched = blank();
  const auto* bytes = reinterpret_cast<const unsigned char*>(&options);
  return std::equal(bytes, bytes + sizeof options, reinterpret_cast<const unsigned char*>(&untouched));
}

std::string to_json(const satn_frontend_options& options) {
  Message message;
  char text[SATN_FRONTEND_JSON_SIZE];
  std::size_t length = 0;
  require(message.expect(
              satn_frontend_options_to_json(&options, text, sizeof text, &length, message.data(), message.size()),
              "to_json") == SATN_FRONTEND_OK,
          "options that were read cannot be written");
  require(length == std::strlen(text), "to_json gave another length than it wrote");
  return text;
}

void check(const char* json, std::size_t size) {
  Message message;
  satn_frontend_options options = blank();
  const satn_frontend_status status = message.expect(
      satn_frontend_options_from_json(&options, json, size, message.data(), message.size()), "from_json");
  if (status != SATN_FRONTEND_OK) {
    require(status == SATN_FRONTEND_ERROR_OPTIONS, "a text was refused for other reasons");
    require(is_blank(options), "a refused text changed the options");
    return;
  }
  const std::string written = to_json(options);
  satn_frontend_options again = blank();
  require(message.expect(
              satn_frontend_options_from_json(&again, written.data(), written.size(), message.data(), message.size()),
              "from_json") == SATN_FRONTEND_OK,
          "options that were written cannot be read: " + written);
  require(to_json(again) == written, "options changed when they were written and read: " + written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    check(reinterpret_cast<const char*>(data), size);
  } catch (const satn::test::Violation& violation) {
    std::fprintf(stderr, "%s\n", violation.what());
    std::abort();
  }
  return 0;
}
