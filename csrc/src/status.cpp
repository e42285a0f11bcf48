// Messages are written here rather than by vsnprintf: what newlib's printf needs for %g alone is larger than the rest
// of the library on a microcontroller and takes memory from the heap; and a point is a point in every locale.
#include "status.hpp"

#include <cmath>
#include <cstddef>
#include <cstring>

namespace satn::frontend {
namespace {

class Text {
 public:
  Text(char* to, std::size_t size) : next_(to), last_(to + size - 1) {}
  ~Text() { *next_ = '\0'; }
  Text(const Text&) = delete;
  Text(Text&&) = delete;
  Text& operator=(const Text&) = delete;
  Text& operator=(Text&&) = delete;

  void add(char c) {
    if (next_ != last_) {
      *next_++ = c;
    }
  }

  void add(const char* text, int most) {
    for (int i = 0; (most < 0 || i < most) && text[i] != '\0'; ++i) {
      add(text[i]);
    }
  }

  void add(unsigned long long value, int least_digits = 1) {
    char digits[20];
    int count = 0;
    for (; value > 0 || count < least_digits; value /= 10) {
      digits[count++] = static_cast<char>('0' + value % 10);
    }
    while (count > 0) {
      add(digits[--count]);
    }
  }

  void add(long long value) {
    if (value < 0) {
      add('-');
    }
    add(value < 0 ? 0ULL - static_cast<unsigned long long>(value) : static_cast<unsigned long long>(value));
  }

  void add(const Status::Argument& argument, int precision) {
    using Kind = Status::Argument::Kind;
    switch (argument.kind) {
      case Kind::none:
        break;
      case Kind::whole:
        add(argument.whole);
        break;
      case Kind::natural:
        add(argument.natural);
        break;
      case Kind::real:
        add(argument.real);
        break;
      case Kind::character:
        add(argument.character);
        break;
      case Kind::text:
        add(argument.text, precision);
        break;
    }
  }

  // Six significant digits, as %g.
  void add(double value) {
    if (std::signbit(value)) {
      add('-');
    }
    value = std::abs(value);
    if (!std::isfinite(value) || value == 0.0) {
      const char* const not_finite = std::isnan(value) ? "nan" : "inf";
      add(value == 0.0 ? "0" : not_finite, -1);
      return;
    }
    int exponent = static_cast<int>(std::floor(std::log10(value)));
    unsigned long digits = leading_digits(value, exponent);
    if (digits >= 1000000) {
      digits = leading_digits(value, ++exponent);
    } else if (digits < 100000) {
      digits = leading_digits(value, --exponent);
    }
    add_digits(digits, exponent);
  }

 private:
  static constexpr int kDigits = 6;

  // value / 10^(exponent - 5), rounded. Two factors, because one can exceed the largest double.
  static unsigned long leading_digits(double value, int exponent) {
    const int shift = kDigits - 1 - exponent;
    const double scaled = value * std::pow(10.0, shift / 2) * std::pow(10.0, shift - shift / 2);
    return static_cast<unsigned long>(std::lround(scaled));
  }

  void add_digits(unsigned long digits, int exponent) {
    int count = kDigits;
    for (; count > 1 && digits % 10 == 0; --count) {
      digits /= 10;
    }
    char text[kDigits];
    for (int i = count; i-- > 0; digits /= 10) {
      text[i] = static_cast<char>('0' + digits % 10);
    }
    const bool scientific = exponent < -4 || exponent >= kDigits;
    const int before_point = scientific ? 1 : exponent + 1;
    for (int i = before_point < 0 ? before_point : 0; i < count || i < before_point; ++i) {
      if (i == before_point) {
        add(i > 0 ? "." : "0.", -1);
      }
      add(i >= 0 && i < count ? text[i] : '0');
    }
    if (scientific) {
      add(exponent < 0 ? "e-" : "e+", -1);
      add(static_cast<unsigned long long>(exponent < 0 ? -exponent : exponent), 2);
    }
  }

  char* next_;
  char* last_;
};

// A format's conversion, from after its % to its letter: the precision, -1 where there is none. Takes the argument
// that a * stands for.
int read_conversion(const char*& format, const Status::Argument*& argument) {
  int precision = -1;
  for (; *format != '\0' && std::strchr("diugsc", *format) == nullptr; ++format) {
    if (*format == '.') {
      precision = 0;
    } else if (*format == '*') {
      precision = static_cast<int>((argument++)->whole);
    } else if (*format >= '0' && *format <= '9') {
      precision = 10 * precision + (*format - '0');
    }
  }
  return precision;
}

}  // namespace

Status::Status(satn_frontend_status code, const char* format, const Argument* arguments) : code_(code) {
  Text text(message_, sizeof message_);
  for (; *format != '\0'; ++format) {
    if (*format != '%' || format[1] == '\0') {
      text.add(*format);
    } else if (*++format == '%') {
      text.add('%');
    } else {
      const int precision = read_conversion(format, arguments);
      text.add(*arguments, precision);
      arguments += arguments->kind == Argument::Kind::none ? 0 : 1;
    }
  }
}

}  // namespace satn::frontend
