// Python's two ways to format: "..." % values and "...".format(values).

#include <charconv>
#include <cmath>

#include "text/jinja/runtime.h"
#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

constexpr int64_t kMaxPrecision = 500;

// How one value is to be written.
struct Spec {
  std::string fill = " ";
  char align = '\0';       // < > ^ =
  char sign = '-';         // + - or space
  bool alternate = false;  // #
  char grouping = '\0';    // , or _
  int64_t width = 0, precision = -1;
  char type = '\0';
};

std::string with_grouping(const std::string& digits, char separator, size_t every) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string pad(Runtime& runtime, const std::string& prefix, const std::string& text,
                const Spec& spec, char default_align) {
  const auto length = static_cast<int64_t>(count_characters(prefix) + count_characters(text));
  if (spec.width <= length) return prefix + text;
  const auto missing = static_cast<size_t>(spec.width - length);
  size_t bytes = 0;
  if (__builtin_mul_overflow(missing, spec.fill.size(), &bytes)) bytes = SIZE_MAX / 2;
  runtime.meter.check_string(bytes);
  runtime.meter.step_text(bytes);
  const auto filling = [&](size_t n) {
    std::string s;
    for (; n > 0; --n) s += spec.fill;
    return s;
  };
  switch (spec.align ? spec.align : default_align) {
    case '<':
      return prefix + text + filling(missing);
    case '^':
      return filling(missing / 2) + prefix + text + filling(missing - missing / 2);
    case '=':
      return prefix + filling(missing) + text;
    default:
      return filling(missing) + prefix + text;
  }
}

std::string integer_digits(uint64_t v, int base, bool upper) {
  char buffer[70];
  std::string out(buffer, std::to_chars(buffer, buffer + sizeof buffer, v, base).ptr);
  if (upper) {
    for (char& c : out) {
      if (c >= 'a') c = static_cast<char>(c - 'a' + 'A');
    }
  }
  return out;
}

std::string sign_of(bool negative, const Spec& spec) {
  return negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string format_integer(Runtime& runtime, int64_t v, const Spec& spec) {
  const uint64_t magnitude = v < 0 ? 0 - static_cast<uint64_t>(v) : static_cast<uint64_t>(v);
  std::string prefix = sign_of(v < 0, spec), digits;
  switch (spec.type) {
    case 'x':
    case 'X':
      digits = integer_digits(magnitude, 16, spec.type == 'X');
      if (spec.alternate) prefix += spec.type == 'x' ? "0x" : "0X";
      break;
    case 'o':
      digits = integer_digits(magnitude, 8, false);
      if (spec.alternate) prefix += "0o";
      break;
    case 'b':
      digits = integer_digits(magnitude, 2, false);
      if (spec.alternate) prefix += "0b";
      break;
    default:
      digits = integer_digits(magnitude, 10, false);
  }
  if (spec.precision > static_cast<int64_t>(digits.size())) {  // only with %
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  }
  if (spec.grouping) {
    const bool decimal = spec.type == '\0' || spec.type == 'd' || spec.type == 'n';
    digits = with_grouping(digits, spec.grouping, decimal ? 3 : 4);
  }
  return pad(runtime, prefix, digits, spec, '>');
}

std::string format_float(Runtime& runtime, double v, Spec spec) {
  std::string digits, suffix;
  const double magnitude = std::fabs(v);
  char type = spec.type ? spec.type : 'r';
  if (type == '%') {
    suffix = "%";
    type = 'f';
  }
  const double scaled = spec.type == '%' ? magnitude * 100 : magnitude;
  const bool upper = type == 'E' || type == 'F' || type == 'G';
  if (std::isnan(v) || std::isinf(v)) {
    digits = std::isnan(v) ? "nan" : "inf";
  } else if (type == 'r' && spec.precision < 0) {
    digits = repr_float(scaled);
  } else {
    int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
    const char lower = static_cast<char>(type | 0x20);
    std::string pattern = fmt::format("%{}.*{}", spec.alternate ? "#" : "",
                                      lower == 'r' || lower == 'n' ? 'g' : lower);
    if ((lower == 'g' || lower == 'n' || lower == 'r') && precision == 0) precision = 1;
    const int size = std::snprintf(nullptr, 0, pattern.c_str(), precision, scaled);
    digits.resize(static_cast<size_t>(size) + 1);
    std::snprintf(digits.data(), digits.size(), pattern.c_str(), precision, scaled);
    digits.pop_back();
    // Without a type, a whole number keeps its ".0".
    if (type == 'r' && digits.find_first_of(".e") == std::string::npos) digits += ".0";
  }
  if (upper) {
    for (char& c : digits) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
  }
  if (spec.grouping) {
    const size_t end = std::min(digits.find_first_of(".eE"), digits.size());
    digits = with_grouping(digits.substr(0, end), spec.grouping, 3) + digits.substr(end);
  }
  return pad(runtime, sign_of(std::signbit(v) && !std::isnan(v), spec), digits + suffix, spec, '>');
}

std::string cut(const std::string& text, int64_t characters_wanted) {
  if (characters_wanted < 0) return text;
  return text.substr(0, byte_offset(text, static_cast<size_t>(characters_wanted)));
}

bool is_float_type(char c) { return std::string_view("eEfFgG%").find(c) != std::string_view::npos; }

int64_t float_to_integer(double f) {
  if (!(f >= -0x1p63 && f < 0x1p63)) raise("cannot convert {} to an integer", repr_float(f));
  return static_cast<int64_t>(f);
}

std::string encode(int64_t code) {
  if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    raise("%c needs a character or a code point");
  }
  std::string out;
  append_utf8(out, static_cast<char32_t>(code));
  return out;
}

// ---- % ----

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Value& format, const Value& arguments)
      : runtime_(runtime),
        format_(format.text()),
        markup_(format.string().markup),
        arguments_(arguments) {
    tuple_ = arguments.is(Kind::kTuple);
  }

  std::string run() {
    while (at_ < format_.size()) {
      runtime_.meter.check_string(out_.size());
      const size_t percent = format_.find('%', at_);
      out_ += format_.substr(at_, percent - at_);
      if (percent == format_.npos) break;
      at_ = percent + 1;
      conversion();
    }
    const bool used_all = tuple_ ? next_ >= arguments_.sequence().items.size()
                                 : next_ > 0 || arguments_.is(Kind::kDict) ||
                                       arguments_.is(Kind::kList) || arguments_.is_undefined();
    if (!used_all && !by_name_) raise("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  char peek() const {
    if (at_ >= format_.size()) raise("incomplete format");
    return format_[at_];
  }

  Value next() {
    if (tuple_) {
      const auto& items = arguments_.sequence().items;
      if (next_ >= items.size()) raise("not enough arguments for format string");
      return items[next_++];
    }
    if (next_++ > 0) raise("not enough arguments for format string");
    return arguments_;
  }

  int64_t number() {
    if (peek() == '*') {
      ++at_;
      return require_integer(next(), "* of a format");
    }
    int64_t n = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_)
      n = std::min<int64_t>(n * 10 + (peek() - '0'), INT32_MAX);
    return n;
  }

  void conversion() {
    runtime_.meter.step();
    Value named;
    if (peek() == '(') {
      const size_t end = format_.find(')', at_);
      if (end == format_.npos) raise("incomplete format key");
      if (!arguments_.is(Kind::kDict)) raise("format requires a mapping");
      const std::string_view key = format_.substr(at_ + 1, end - at_ - 1);
      const Value* found = arguments_.dict().find(key);
      if (!found) raise("{}", repr_string(key));
      named = *found;
      by_name_ = true;
      at_ = end + 1;
    }
    Spec spec;
    for (bool flags = true; flags;) {
      switch (peek()) {
        case '-':
          spec.align = '<';
          break;
        case '+':
          spec.sign = '+';
          break;
        case ' ':
          spec.sign = spec.sign == '+' ? '+' : ' ';
          break;
        case '#':
          spec.alternate = true;
          break;
        case '0':
          spec.fill = "0";
          break;
        default:
          flags = false;
          continue;
      }
      ++at_;
    }
    spec.width = number();
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++at_;
      spec.precision = std::max<int64_t>(number(), 0);
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    const char c = peek();
    ++at_;
    if (c == '%') {
      out_ += '%';
      return;
    }
    const Value v = named.is_missing() ? next() : named;
    convert(c, v, spec);
  }

  void convert(char c, const Value& v, Spec spec) {
    if (spec.align == '<') spec.fill = " ";
    const bool zeros = spec.fill == "0";
    switch (c) {
      case 's':
      case 'r':
      case 'a':
      case 'c': {
        spec.fill = " ";
        std::string text;
        if (c == 'c') {
          if (v.is_integer())
            text = encode(v.as_int());
          else if (v.is_string() && v.string().length == 1)
            text = v.text();
          else
            raise("%c requires an int or a unicode character, not {}", type_name(v));
        } else {
          text = c == 's' ? to_text(runtime_, v) : repr(runtime_, v);
        }
        text = cut(text, spec.precision);
        if (markup_ && !(v.is_string() && v.string().markup)) text = escape_html(text);
        out_ += pad(runtime_, "", text, spec, '>');
        return;
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o': {
        require_defined(v);
        const bool decimal = c == 'd' || c == 'i' || c == 'u';
        if (!v.is_integer() && !(decimal && v.is(Kind::kFloat))) {
          raise("%{} format: an integer is required, not {}", c, type_name(v));
        }
        check_precision(spec);
        spec.type = decimal ? 'd' : c;
        if (zeros) spec.align = '=';
        const int64_t integer = v.is(Kind::kFloat) ? float_to_integer(v.as_float()) : v.as_int();
        out_ += format_integer(runtime_, integer, spec);
        return;
      }
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        require_defined(v);
        if (!v.is_number()) raise("must be real number, not {}", type_name(v));
        check_precision(spec);
        spec.type = c;
        if (zeros) spec.align = '=';
        out_ += format_float(runtime_, v.as_float(), spec);
        return;
      default:
        raise("unsupported format character '{}'", c);
    }
  }

  static void check_precision(const Spec& spec) {
    if (spec.precision > kMaxPrecision)
      raise("precision {} is over {}", spec.precision, kMaxPrecision);
  }

  Runtime& runtime_;
  std::string_view format_;
  bool markup_;
  const Value& arguments_;
  bool tuple_, by_name_ = false;
  size_t next_ = 0, at_ = 0;
  std::string out_;
};

// ---- {} ----

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, bool markup, const Arguments& arguments)
      : runtime_(runtime), markup_(markup), arguments_(arguments) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) raise("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      runtime_.meter.check_string(out.size());
      const char c = format[at];
      if (c != '{' && c != '}') {
        const size_t end = std::min(format.find_first_of("{}", at), format.size());
        out += format.substr(at, end - at);
        at = end;
      } else if (at + 1 < format.size() && format[at + 1] == c) {
        out += c;
        at += 2;
      } else if (c == '}') {
        raise("Single '}}' encountered in format string");
      } else {
        const size_t end = field_end(format, at + 1);
        out += field(format.substr(at + 1, end - at - 1), depth);
        at = end + 1;
      }
    }
    return out;
  }

 private:
  static size_t field_end(std::string_view format, size_t at) {
    for (int open = 1; at < format.size(); ++at) {
      if (format[at] == '{') ++open;
      if (format[at] == '}' && --open == 0) return at;
    }
    raise("expected '}}' before end of string");
  }

  std::string field(std::string_view text, int depth) {
    runtime_.meter.step();
    size_t end = 0;
    for (bool bracket = false; end < text.size(); ++end) {
      if (text[end] == '[') bracket = true;
      if (text[end] == ']') bracket = false;
      if (!bracket && (text[end] == '!' || text[end] == ':')) break;
    }
    Value v = lookup(text.substr(0, end));
    std::string_view rest = text.substr(end);
    if (rest.starts_with('!')) {
      if (rest.size() < 2) raise("end of format while looking for conversion specifier");
      if (rest[1] == 's')
        v = runtime_.string(to_text(runtime_, v));
      else if (rest[1] == 'r' || rest[1] == 'a')
        v = runtime_.string(repr(runtime_, v));
      else
        raise("Unknown conversion specifier {}", rest[1]);
      rest = rest.substr(2);
    }
    std::string spec;
    if (rest.starts_with(':'))
      spec = run(rest.substr(1), depth + 1);
    else if (!rest.empty())
      raise("expected ':' after conversion specifier");
    std::string out = apply(v, spec);
    return markup_ && !(v.is_string() && v.string().markup) ? escape_html(out) : out;
  }

  // "name.attribute[key]"
  Value lookup(std::string_view path) {
    size_t at = std::min(path.find_first_of(".["), path.size());
    Value v = first(path.substr(0, at));
    while (at < path.size()) {
      if (path[at] == '.') {
        const size_t end = std::min(path.find_first_of(".[", at + 1), path.size());
        if (end == at + 1) raise("Empty attribute in format string");
        v = get_attribute(runtime_, v, path.substr(at + 1, end - at - 1));
        at = end;
      } else if (path[at] == '[') {
        const size_t end = path.find(']', at);
        if (end == path.npos) raise("Missing ']' in format string");
        const std::string_view key = path.substr(at + 1, end - at - 1);
        if (key.empty()) raise("Empty attribute in format string");
        int64_t index = 0;
        const bool is_index = parse_index(key, index);
        v = get_item(runtime_, v, is_index ? Value(index) : runtime_.string(key));
        at = end + 1;
      } else {
        raise("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return v;
  }

  static bool parse_index(std::string_view text, int64_t& out) {
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
    }
    return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc();
  }

  Value first(std::string_view name) {
    int64_t index = 0;
    if (name.empty()) {
      if (numbered_)
        raise("cannot switch from manual field specification to automatic field numbering");
      automatic_ = true;
      index = next_++;
    } else if (parse_index(name, index)) {
      if (automatic_)
        raise("cannot switch from automatic field numbering to manual field specification");
      numbered_ = true;
    } else {
      for (const auto& [key, value] : arguments_.named) {
        if (key == name) return value;
      }
      raise("{}", repr_string(name));
    }
    if (static_cast<size_t>(index) >= arguments_.positional.size()) {
      raise("Replacement index {} out of range for positional args tuple", index);
    }
    return arguments_.positional[static_cast<size_t>(index)];
  }

  Spec parse(std::string_view text) {
    Spec spec;
    size_t at = 0;
    const auto is_align = [&](size_t i) {
      return i < text.size() && std::string_view("<>=^").find(text[i]) != std::string_view::npos;
    };
    const size_t n = text.empty() ? 0 : utf8_length(static_cast<uint8_t>(text[0]));
    if (is_align(n)) {
      spec.fill = text.substr(0, n);
      spec.align = text[n];
      at = n + 1;
    } else if (is_align(0)) {
      spec.align = text[at++];
    }
    const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
    if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = text[at++];
    if (peek() == '#') {
      spec.alternate = true;
      ++at;
    }
    if (peek() == '0') {
      if (!spec.align) {
        spec.fill = "0";
        spec.align = '=';
      }
      ++at;
    }
    const auto number = [&] {
      int64_t v = 0;
      for (; peek() >= '0' && peek() <= '9'; ++at)
        v = std::min<int64_t>(v * 10 + (peek() - '0'), INT32_MAX);
      return v;
    };
    spec.width = number();
    if (peek() == ',' || peek() == '_') spec.grouping = text[at++];
    if (peek() == '.') {
      ++at;
      if (peek() < '0' || peek() > '9') raise("Format specifier missing precision");
      spec.precision = number();
    }
    if (at < text.size()) spec.type = text[at++];
    if (at < text.size()) raise("Invalid format specifier '{}'", text);
    return spec;
  }

  std::string apply(const Value& v, const std::string& text) {
    if (text.empty()) return to_text(runtime_, v);
    Spec spec = parse(text);
    if (v.is_string()) {
      if (spec.type && spec.type != 's')
        raise("Unknown format code '{}' for object of type 'str'", spec.type);
      if (spec.align == '=' && spec.fill != "0")
        raise("'=' alignment not allowed in string format specifier");
      if (spec.align == '=') spec.align = '<';
      return pad(runtime_, "", cut(v.text(), spec.precision), spec, '<');
    }
    if (v.is(Kind::kFloat) || (v.is_integer() && spec.type && is_float_type(spec.type))) {
      if (spec.precision > kMaxPrecision)
        raise("precision {} is over {}", spec.precision, kMaxPrecision);
      if (spec.type && !is_float_type(spec.type) && spec.type != 'n') {
        raise("Unknown format code '{}' for object of type 'float'", spec.type);
      }
      return format_float(runtime_, v.as_float(), spec);
    }
    if (v.is_integer()) {
      if (spec.type == 'c') return pad(runtime_, "", encode(v.as_int()), spec, '<');
      if (spec.precision >= 0) raise("Precision not allowed in integer format specifier");
      if (spec.type && std::string_view("bdoxXn").find(spec.type) == std::string_view::npos) {
        raise("Unknown format code '{}' for object of type 'int'", spec.type);
      }
      return format_integer(runtime_, v.as_int(), spec);
    }
    raise("unsupported format string passed to {}.__format__", type_name(v));
  }

  Runtime& runtime_;
  bool markup_;
  const Arguments& arguments_;
  bool automatic_ = false, numbered_ = false;
  int64_t next_ = 0;
};

}  // namespace

Value format_percent(Runtime& runtime, const Value& format, const Value& arguments) {
  runtime.meter.step_text(format.text().size());
  return runtime.string(PercentFormatter(runtime, format, arguments).run(), format.string().markup);
}

Value format_braces(Runtime& runtime, const Value& format, const Arguments& arguments) {
  runtime.meter.step_text(format.text().size());
  const bool markup = format.string().markup;
  return runtime.string(BraceFormatter(runtime, markup, arguments).run(format.text(), 1), markup);
}

}  // namespace dsv3::jinja
