#include "options_json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <type_traits>

#include "option_fields.hpp"

namespace satn::frontend {
namespace {

constexpr satn_frontend_status kBad = SATN_FRONTEND_ERROR_OPTIONS;

// ---- Text to tokens -------------------------------------------------------------------------------------------------

// Both ends lie within the text. (substr would check that again, and throw.)
std::string_view part(std::string_view text, std::size_t begin, std::size_t end) {
  return {text.begin() + begin, end - begin};
}

// Where a byte of the text stands, as editors count.
struct Place {
  Place(std::string_view text, std::size_t offset) {
    for (const char c : part(text, 0, offset)) {
      column = c == '\n' ? 1 : column + 1;
      line += c == '\n' ? 1 : 0;
    }
  }

  unsigned long long line = 1;
  unsigned long long column = 1;
};

// The beginning of somebody else's text, fit for a message.
struct Quoted {
  explicit Quoted(std::string_view from) {
    const std::size_t kept = std::min(from.size(), sizeof text - 4);
    std::transform(from.begin(), from.begin() + kept, text, [](char c) { return c >= ' ' && c <= '~' ? c : '?'; });
    if (kept < from.size()) {
      std::memcpy(text + kept, "...", 3);
    }
  }

  char text[44] = "";
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads JSON from left to right. A token is a view of the text; a string's includes its quotes.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::size_t offset() const { return offset_; }

  void skip_space() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') {
      ++offset_;
    }
  }

  bool take(char c) {
    const bool found = !at_end() && text_[offset_] == c;
    offset_ += found ? 1 : 0;
    return found;
  }

  Status expect_end() const { return at_end() ? Status() : unexpected("the end"); }

  // `expected` completes "..., but ... was expected".
  Status unexpected(const char* expected) const {
    const Place place(text_, offset_);
    if (at_end()) {
      return Status::error(kBad, "JSON options, line %llu, column %llu: the text ends here, where %s was expected",
                           place.line, place.column, expected);
    }
    const char found = text_[offset_];
    if (found > ' ' && found <= '~') {
      return Status::error(kBad, "JSON options, line %llu, column %llu: '%c' stands here, where %s was expected",
                           place.line, place.column, found, expected);
    }
    constexpr const char* kHex = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(found);
    return Status::error(kBad, "JSON options, line %llu, column %llu: byte 0x%c%c stands here, where %s was expected",
                         place.line, place.column, kHex[byte / 16], kHex[byte % 16], expected);
  }

  Status string(std::string_view& token) {
    const std::size_t start = offset_;
    if (!take('"')) {
      return unexpected("a name in double quotes");
    }
    while (!at_end() && peek() != '"') {
      if (peek() == '\\' || static_cast<unsigned char>(peek()) < ' ') {
        return unexpected("a plain character (no name or value of an option needs an escape)");
      }
      ++offset_;
    }
    if (!take('"')) {
      return unexpected("a closing double quote");
    }
    token = part(text_, start, offset_);
    return {};
  }

  Status value(std::string_view& token) {
    if (peek() == '"') {
      return string(token);
    }
    if (peek() == '-' || is_digit(peek())) {
      return number(token);
    }
    for (const char* word : {"true", "false", "null"}) {
      if (peek() == word[0]) {
        return literal(word, token);
      }
    }
    return unexpected("a string, a number, true, false or null (options do not nest)");
  }

 private:
  bool at_end() const { return offset_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[offset_]; }

  Status literal(const char* word, std::string_view& token) {
    const std::size_t start = offset_;
    for (const char* next = word; *next != '\0'; ++next) {
      if (!take(*next)) {
        return unexpected(word);
      }
    }
    token = part(text_, start, offset_);
    return {};
  }

  Status number(std::string_view& token) {
    const std::size_t start = offset_;
    take('-');
    Status status = take('0') ? Status() : digits();  // nothing may follow a leading zero
    if (status.ok() && take('.')) {
      status = digits();
    }
    if (status.ok() && (take('e') || take('E'))) {
      if (!take('-')) {
        take('+');
      }
      status = digits();
    }
    token = part(text_, start, offset_);
    return status;
  }

  Status digits() {
    if (!is_digit(peek())) {
      return unexpected("a digit");
    }
    while (is_digit(peek())) {
      ++offset_;
    }
    return {};
  }

  std::string_view text_;
  std::size_t offset_ = 0;
};

// ---- Tokens to options ----------------------------------------------------------------------------------------------

// What the text gives for each field, in the order of for_each_field; empty where it gives nothing.
using Values = std::array<std::string_view, kFieldCount>;

// Without its quotes.
std::string_view content(std::string_view string) { return part(string, 1, string.size() - 1); }

// kFieldCount where there is no such field.
std::size_t index_of(std::string_view name) {
  std::size_t found = kFieldCount;
  std::size_t index = 0;
  for_each_field([&](const auto& field) {
    found = name == field.name ? index : found;
    ++index;
  });
  return found;
}

Status read_member(std::string_view text, Scanner& scanner, Values& values) {
  const std::size_t start = scanner.offset();
  std::string_view name;
  if (const Status status = scanner.string(name); !status.ok()) {
    return status;
  }
  const std::size_t index = index_of(content(name));
  if (index == kFieldCount || !values[index].empty()) {
    const Place place(text, start);
    return Status::error(kBad, "JSON options, line %llu, column %llu: %s is %s", place.line, place.column,
                         Quoted(name).text,
                         index == kFieldCount ? "no option; the names are those of satn_frontend_options (of a "
                                                "manifest.json, give the front_end object alone)"
                                              : "given a second time: keep one of the two");
  }
  scanner.skip_space();
  if (!scanner.take(':')) {
    return scanner.unexpected("a colon");
  }
  scanner.skip_space();
  return scanner.value(values[index]);
}

Status read_object(std::string_view text, Values& values) {
  Scanner scanner(text);
  scanner.skip_space();
  if (!scanner.take('{')) {
    return scanner.unexpected("an object that begins with '{'");
  }
  scanner.skip_space();
  if (!scanner.take('}')) {
    do {
      scanner.skip_space();
      if (const Status status = read_member(text, scanner, values); !status.ok()) {
        return status;
      }
      scanner.skip_space();
    } while (scanner.take(','));
    if (!scanner.take('}')) {
      return scanner.unexpected("',' or '}'");
    }
  }
  scanner.skip_space();
  return scanner.expect_end();
}

// What a value should have been, in words; nothing for one that was read.
using Remedy = const char*;

Remedy read(std::string_view token, bool& field) {
  field = token == "true";
  return field || token == "false" ? nullptr : "true or false";
}

template <class Number>
Remedy read_number(std::string_view token, Number& field, Remedy remedy, Remedy remedy_for_range) {
  const char* const begin = token.begin();
  const char* const end = token.end();
  const std::from_chars_result result = std::from_chars(begin, end, field);
  if (result.ec == std::errc::result_out_of_range) {
    return remedy_for_range;
  }
  return result.ec == std::errc() && result.ptr == end ? nullptr : remedy;
}

Remedy read(std::string_view token, std::int32_t& field) {
  return read_number(token, field, "a whole number", "a whole number of 32 bits");
}

Remedy read(std::string_view token, double& field) {
  return read_number(token, field, "a number", "a number in the range of a double");
}

// The names of an enumeration's values, as a sentence lists them: "povey", "hamming" or "hann".
template <class Enum>
struct Alternatives {
  Alternatives() {
    char* end = text;
    for (std::size_t i = 0; i < kNames<Enum>.size(); ++i) {
      const bool last = i + 1 == kNames<Enum>.size();
      const std::string_view between = last ? " or " : ", ";
      const std::string_view before = i == 0 ? "" : between;
      for (const std::string_view piece : {before, kQuote, std::string_view(kNames<Enum>[i]), kQuote}) {
        end = std::copy(piece.begin(), piece.end(), end);
      }
    }
  }

  static constexpr std::string_view kQuote = "\"";
  static constexpr std::size_t room() {
    std::size_t length = 1;
    for (const std::string_view name : kNames<Enum>) {
      length += name.size() + 6;
    }
    return length;
  }

  char text[room()] = {};
};

template <class Value>
Status read_field(std::string_view text, std::string_view token, const char* name, Null null, Value& field) {
  const auto refuse = [&](const char* remedy) {
    const Place place(text, static_cast<std::size_t>(token.data() - text.data()));
    return Status::error(kBad, "JSON options, line %llu, column %llu: %s is %s, but must be %s%s", place.line,
                         place.column, name, Quoted(token).text, remedy, null == Null::refused ? "" : ", or null");
  };
  if constexpr (std::is_enum_v<Value>) {
    const auto is_named = [token](const char* value) { return token.front() == '"' && content(token) == value; };
    const auto found = std::find_if(kNames<Value>.begin(), kNames<Value>.end(), is_named);
    field = static_cast<Value>(found - kNames<Value>.begin());
    return found != kNames<Value>.end() ? Status() : refuse(Alternatives<Value>().text);
  } else {
    const Remedy remedy = read(token, field);
    return remedy == nullptr ? Status() : refuse(remedy);
  }
}

// Applies the given values to the options.
Status apply(std::string_view text, const Values& values, Options& options) {
  Status status;
  std::size_t index = 0;
  for_each_field([&](const auto& field) {
    const std::string_view token = values[index++];
    if (!status.ok() || token.empty()) {
      return;
    }
    auto& value = options.*field.in_core;
    if (token == "null" && field.null != Null::refused) {
      value = field.null_value();
    } else {
      status = read_field(text, token, field.name, field.null, value);
    }
  });
  return status;
}

// ---- Options to text ------------------------------------------------------------------------------------------------

constexpr std::size_t kLongestNumber = 24;  // -2.2250738585072014e-308

template <class Value>
constexpr std::size_t longest_value() {
  if constexpr (std::is_enum_v<Value>) {
    std::size_t longest = 0;
    for (const std::string_view name : kNames<Value>) {
      longest = std::max(longest, name.size() + 2);
    }
    return longest;
  } else {
    return std::is_same_v<Value, bool> ? 5 : kLongestNumber;
  }
}

constexpr std::size_t longest_json() {
  std::size_t longest = 2;  // braces
  for_each_field([&longest](const auto& field) {
    using Value = typename std::decay_t<decltype(field)>::Type;
    longest += std::string_view(field.name).size() + longest_value<Value>() + 6;  // quotes, colon, comma, spaces
  });
  return longest;
}

static_assert(longest_json() < SATN_FRONTEND_JSON_SIZE, "the header promises that this much is enough");

// Appends to a text that is long enough.
class Writer {
 public:
  explicit Writer(char* text) : begin_(text), end_(text) {}

  std::size_t size() const { return static_cast<std::size_t>(end_ - begin_); }

  void put(std::string_view text) { end_ = std::copy(text.begin(), text.end(), end_); }
  void put(bool value) { put(std::string_view(value ? "true" : "false")); }
  void put(std::int32_t value) { end_ = std::to_chars(end_, end_ + kLongestNumber, value).ptr; }

  // The fewest digits that give the number back; with a point or an exponent, so that it stays a float in Python.
  void put(double value) {
    const char* start = end_;
    end_ = std::to_chars(end_, end_ + kLongestNumber, value).ptr;
    if (std::all_of(start, static_cast<const char*>(end_), [](char c) { return c == '-' || is_digit(c); })) {
      put(std::string_view(".0"));
    }
  }

 private:
  char* begin_;
  char* end_;
};

}  // namespace

Status options_from_json(std::string_view json, Options& options) {
  Values values;
  Options given;
  Status status = read_object(json, values);
  if (status.ok()) {
    status = apply(json, values, given);
  }
  if (status.ok()) {
    // Now that they are known, the preset's values come first, and all that is given goes over them.
    status = preset_options(static_cast<std::int32_t>(given.preset), given.sample_rate, given.n_mels, given);
  }
  if (status.ok()) {
    status = apply(json, values, given);
  }
  if (status.ok()) {
    Options resolved = given;
    status = resolve(resolved);
  }
  if (status.ok()) {
    options = given;
  }
  return status;
}

std::size_t options_to_json(const Options& options, Span<char> json) {
  Writer writer(json.data());
  const char* before = "{\"";
  for_each_field([&](const auto& field) {
    using Value = typename std::decay_t<decltype(field)>::Type;
    const Value value = options.*field.in_core;
    writer.put(std::string_view(before));
    writer.put(std::string_view(field.name));
    writer.put(std::string_view("\": "));
    if (field.is_null(value)) {
      writer.put(std::string_view("null"));
    } else if constexpr (std::is_enum_v<Value>) {
      writer.put(std::string_view("\""));
      writer.put(std::string_view(kNames<Value>[static_cast<std::size_t>(value)]));
      writer.put(std::string_view("\""));
    } else {
      writer.put(value);
    }
    before = ", \"";
  });
  writer.put(std::string_view("}"));
  return writer.size();
}

}  // namespace satn::frontend
