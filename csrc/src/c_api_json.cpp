// The part of the C API that reads and writes options as JSON.
#include <cstring>
#include <string_view>

#include "c_structs.hpp"
#include "options_json.hpp"
#include "satn_frontend.h"
#include "span.hpp"

namespace core = satn::frontend;

using core::Status;

satn_frontend_status satn_frontend_options_from_json(satn_frontend_options* options, const char* json, size_t length,
                                                     char* message, size_t message_size) {
  Status status = core::check_size(options);
  if (status.ok() && json == nullptr) {
    status = core::null_argument("json");
  }
  core::Options read;
  if (status.ok()) {
    status = core::options_from_json(std::string_view(json, length), read);
  }
  if (status.ok()) {
    core::to_c(read, *options);
  }
  return core::report(status, message, message_size);
}

satn_frontend_status satn_frontend_options_to_json(const satn_frontend_options* options, char* json, size_t capacity,
                                                   size_t* length, char* message, size_t message_size) {
  if (length == nullptr || (json == nullptr && capacity > 0)) {
    return core::report(core::null_argument(length == nullptr ? "length" : "json"), message, message_size);
  }
  Status status = core::check_size(options);
  if (!status.ok()) {
    return core::report(status, message, message_size);
  }
  const core::Options given = core::from_c(*options);
  core::Options resolved = given;
  status = core::resolve(resolved);
  if (status.ok()) {
    char text[SATN_FRONTEND_JSON_SIZE];
    const std::size_t size = core::options_to_json(given, core::Span<char>(text, sizeof text));
    *length = size;
    if (json != nullptr && size < capacity) {
      std::memcpy(json, text, size);
      json[size] = '\0';
    } else if (capacity > 0) {
      status = Status::error(SATN_FRONTEND_ERROR_CAPACITY,
                             "the options have %zu bytes in JSON and a terminating zero, but capacity is %zu: offer "
                             "SATN_FRONTEND_JSON_SIZE, which is always enough",
                             size, capacity);
    }
  }
  return core::report(status, message, message_size);
}
