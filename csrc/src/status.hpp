// Errors without exceptions: a code, and a sentence that names the offending value and the remedy.
#pragma once

#include <type_traits>

#include "satn_frontend.h"

namespace satn::frontend {

class Status {
 public:
  Status() { message_[0] = '\0'; }

  // `format` is one of printf, but how an argument is written follows from its type, whatever the letter: a whole
  // number, six digits of a double, a string. A precision (%.5s, %.*s) cuts strings.
  template <class... Values>
  static Status error(satn_frontend_status code, const char* format, Values... values) {
    const Argument arguments[] = {Argument(values)..., Argument()};
    return Status(code, format, arguments);
  }

  bool ok() const { return code_ == SATN_FRONTEND_OK; }
  satn_frontend_status code() const { return code_; }
  const char* message() const { return message_; }

  // A value of a message.
  struct Argument {
    enum class Kind { none, whole, natural, real, character, text };

    Argument() : kind(Kind::none), natural(0) {}
    explicit Argument(const char* value) : kind(Kind::text), text(value) {}
    explicit Argument(double value) : kind(Kind::real), real(value) {}
    explicit Argument(char value) : kind(Kind::character), character(value) {}
    template <class Integer, class = std::enable_if_t<std::is_integral_v<Integer>>>
    explicit Argument(Integer value) : kind(std::is_signed_v<Integer> ? Kind::whole : Kind::natural) {
      if constexpr (std::is_signed_v<Integer>) {
        whole = value;
      } else {
        natural = value;
      }
    }

    Kind kind;
    union {
      long long whole;
      unsigned long long natural;
      double real;
      char character;
      const char* text;
    };
  };

 private:
  Status(satn_frontend_status code, const char* format, const Argument* arguments);

  satn_frontend_status code_ = SATN_FRONTEND_OK;
  char message_[SATN_FRONTEND_MESSAGE_SIZE];
};

}  // namespace satn::frontend
