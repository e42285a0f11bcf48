// What the functions of the C API share: how they report, and how they read and write satn_frontend_options.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "option_fields.hpp"
#include "options.hpp"
#include "satn_frontend.h"
#include "status.hpp"

namespace satn::frontend {

inline satn_frontend_status report(const Status& status, char* message, std::size_t message_size) {
  if (!status.ok() && message != nullptr && message_size > 0) {
    std::strncpy(message, status.message(), message_size - 1);
    message[message_size - 1] = '\0';
  }
  return status.code();
}

inline Status null_argument(const char* name) {
  return Status::error(SATN_FRONTEND_ERROR_ARGUMENT, "%s is NULL", name);
}

inline Status check_size(const satn_frontend_options* options) {
  if (options == nullptr) {
    return null_argument("options");
  }
  if (options->size != sizeof(satn_frontend_options)) {
    return Status::error(SATN_FRONTEND_ERROR_ARGUMENT,
                         "options.size is %zu, but this library's satn_frontend_options has %zu bytes: set size to "
                         "sizeof(satn_frontend_options), and build against this library's header",
                         options->size, sizeof(satn_frontend_options));
  }
  return {};
}

inline Options from_c(const satn_frontend_options& c) {
  Options options;
  for_each_field([&](const auto& field) {
    using Value = typename std::decay_t<decltype(field)>::Type;
    options.*field.in_core = static_cast<Value>(c.*field.in_c);
  });
  return options;
}

inline void to_c(const Options& options, satn_frontend_options& c) {
  for_each_field([&](const auto& field) {
    using InC = std::decay_t<decltype(c.*field.in_c)>;
    c.*field.in_c = static_cast<InC>(options.*field.in_core);
  });
}

}  // namespace satn::frontend
