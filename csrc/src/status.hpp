// Errors without exceptions: a code, and a sentence that names the offending value and the remedy.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "satn_frontend.h"

namespace satn::frontend {

class Status {
 public:
  Status() = default;

#if defined(__GNUC__)
  __attribute__((format(printf, 2, 3)))
#endif
  static Status error(satn_frontend_status code, const char* format, ...) {
    Status status;
    status.code_ = code;
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(status.message_, sizeof status.message_, format, arguments);
    va_end(arguments);
    return status;
  }

  bool ok() const { return code_ == SATN_FRONTEND_OK; }
  satn_frontend_status code() const { return code_; }
  const char* message() const { return message_; }

 private:
  satn_frontend_status code_ = SATN_FRONTEND_OK;
  char message_[SATN_FRONTEND_MESSAGE_SIZE] = "";
};

}  // namespace satn::frontend
