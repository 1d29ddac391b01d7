#include "text/jinja/format_spec.h"

#include <charconv>
#include <cmath>

#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

constexpr int64_t kMaxPrecision = 500;

bool contains(std::string_view set, char c) { return set.find(c) != std::string_view::npos; }

void to_ascii_upper(std::string& text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
}

std::string integer_digits(uint64_t v, int base) {
  char buffer[70];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, v, base).ptr);
}

std::string sign_of(bool negative, const FormatSpec& spec) {
  if (negative) return "-";
  return spec.sign == '+' || spec.sign == ' ' ? std::string(1, spec.sign) : "";
}

// How much zeros, which are grouped like other digits, have to fill up.
int64_t width_of_zeros(Runtime& runtime, const FormatSpec& spec) {
  if (spec.align != '=' || spec.fill != "0") return 0;
  runtime.meter.check_string(static_cast<size_t>(spec.width));
  runtime.meter.step_text(static_cast<size_t>(spec.width));
  return spec.width;
}

// A separator after each `every` digits from the right, and zeros in front up to `width`
// characters; it never begins with a separator.
std::string grouped(const std::string& digits, char separator, size_t every, int64_t width) {
  std::string out;  // from right to left
  size_t left = digits.size();
  for (size_t n = 0; left > 0 || static_cast<int64_t>(out.size()) < width; ++n) {
    if (n > 0 && n % every == 0) out += separator;
    out += left > 0 ? digits[--left] : '0';
  }
  return {out.rbegin(), out.rend()};
}

std::string grouped_fraction(const std::string& digits, char separator) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && i % 3 == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string printed(const char* pattern, int precision, double v) {
  const int size = std::snprintf(nullptr, 0, pattern, precision, v);
  std::string out(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), pattern, precision, v);
  out.pop_back();
  return out;
}

// Of a float without a type but with a precision: like 'g', but what would look like an integer has
// an exponent or ".0".
std::string general_digits(double magnitude, int precision, bool alternate) {
  const std::string scientific = printed("%.*e", precision - 1, magnitude);
  const size_t e = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(e + 1));
  if (exponent < precision - 1 && exponent >= -4) {
    const std::string digits = printed(alternate ? "%#.*g" : "%.*g", precision, magnitude);
    return contains(digits, '.') ? digits : digits + ".0";
  }
  std::string mantissa = scientific.substr(0, e);
  if (alternate) {
    if (!contains(mantissa, '.')) mantissa += '.';
  } else if (contains(mantissa, '.')) {
    mantissa.resize(mantissa.find_last_not_of('0') + 1);
    if (mantissa.back() == '.') mantissa.pop_back();
  }
  return mantissa + scientific.substr(e);
}

// Without sign, grouping and padding; `magnitude` is finite.
std::string float_digits(double magnitude, const FormatSpec& spec) {
  const bool has_precision = spec.precision >= 0;
  int precision = has_precision ? static_cast<int>(spec.precision) : 6;
  if (!spec.type && !has_precision) {
    std::string digits = repr_float(magnitude);
    const size_t e = digits.find('e');
    if (spec.alternate && e != digits.npos && !contains(digits, '.')) digits.insert(e, ".");
    return digits;
  }
  const char type = spec.type == '%' ? 'f' : static_cast<char>(spec.type | 0x20);
  const bool general = !spec.type || type == 'g' || type == 'n';
  if (general && precision == 0) precision = 1;
  if (!spec.type) return general_digits(magnitude, precision, spec.alternate);
  const std::string pattern =
      fmt::format("%{}.*{}", spec.alternate ? "#" : "", general ? 'g' : type);
  return printed(pattern.c_str(), precision, magnitude);
}

}  // namespace

FormatSpec parse_format_spec(std::string_view text, char default_align) {
  FormatSpec spec;
  size_t at = 0;
  const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
  const auto skip = [&](char c) { return peek() == c && c != '\0' && (++at, true); };
  const auto skip_any = [&](std::string_view set) {
    return peek() != '\0' && contains(set, peek()) ? text[at++] : '\0';
  };
  const auto is_align = [&](size_t i) { return i < text.size() && contains("<>=^", text[i]); };
  const auto number = [&] {
    int64_t v = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at)
      v = std::min<int64_t>(v * 10 + (peek() - '0'), INT32_MAX);
    return v;
  };

  const size_t first = text.empty() ? 0 : utf8_length(static_cast<uint8_t>(text[0]));
  const bool fill_given = is_align(first);
  if (fill_given) {
    spec.fill = text.substr(0, first);
    at = first;
  }
  spec.align = skip_any("<>=^");
  spec.sign = skip_any("+- ");
  spec.no_negative_zero = skip('z');
  spec.alternate = skip('#');
  if (!fill_given && skip('0')) {
    spec.fill = "0";
    if (!spec.align && default_align == '>') spec.align = '=';
  }
  if (!spec.align) spec.align = default_align;
  spec.width = number();
  spec.grouping = skip_any(",_");
  if (skip('.')) {
    const bool digits = peek() >= '0' && peek() <= '9';
    if (digits) spec.precision = number();
    spec.fraction_grouping = skip_any(",_");
    if (!digits && !spec.fraction_grouping) raise("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) raise("Invalid format specifier '{}'", text);
  return spec;
}

std::string padded(Runtime& runtime, const std::string& prefix, const std::string& text,
                   const FormatSpec& spec) {
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
  switch (spec.align) {
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

std::string format_integer(Runtime& runtime, int64_t v, const FormatSpec& spec) {
  const uint64_t magnitude = v < 0 ? 0 - static_cast<uint64_t>(v) : static_cast<uint64_t>(v);
  const char type = static_cast<char>(spec.type | 0x20);
  const int base = type == 'x' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  std::string prefix = sign_of(v < 0, spec);
  if (spec.alternate && base != 10) prefix += {'0', spec.type};
  std::string digits = integer_digits(magnitude, base);
  if (spec.type == 'X') to_ascii_upper(digits);
  if (spec.precision > kMaxPrecision)
    raise("precision {} is over {}", spec.precision, kMaxPrecision);
  if (spec.precision > static_cast<int64_t>(digits.size()))
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  if (spec.grouping) {
    digits = grouped(digits, spec.grouping, base == 10 ? 3 : 4,
                     width_of_zeros(runtime, spec) - static_cast<int64_t>(prefix.size()));
  }
  return padded(runtime, prefix, digits, spec);
}

std::string format_float(Runtime& runtime, double v, const FormatSpec& spec) {
  if (spec.precision > kMaxPrecision)
    raise("precision {} is over {}", spec.precision, kMaxPrecision);
  const bool finite = std::isfinite(v);
  std::string digits = std::isnan(v) ? "nan" : "inf";
  const double magnitude = spec.type == '%' ? std::fabs(v) * 100 : std::fabs(v);
  if (finite && std::isinf(magnitude)) digits = "inf";
  if (std::isfinite(magnitude)) digits = float_digits(magnitude, spec);
  if (contains("EFG", spec.type)) to_ascii_upper(digits);
  bool negative = std::signbit(v) && !std::isnan(v);
  if (spec.no_negative_zero && digits.find_first_of("123456789i") == digits.npos) negative = false;
  const std::string prefix = sign_of(negative, spec);

  // The whole part, the fraction, and what follows.
  const size_t point = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string whole = digits.substr(0, point), rest = digits.substr(point);
  if (spec.fraction_grouping && rest.starts_with('.')) {
    const size_t end = std::min(rest.find_first_not_of("0123456789", 1), rest.size());
    rest =
        '.' + grouped_fraction(rest.substr(1, end - 1), spec.fraction_grouping) + rest.substr(end);
  }
  if (spec.type == '%') rest += '%';
  if (spec.grouping && !whole.empty()) {
    const auto others = static_cast<int64_t>(prefix.size() + rest.size());
    whole = grouped(whole, spec.grouping, 3, width_of_zeros(runtime, spec) - others);
  }
  return padded(runtime, prefix, whole + rest, spec);
}

bool is_float_format(char type) { return type != '\0' && contains("eEfFgG%", type); }

std::string cut_to_precision(const std::string& text, int64_t precision) {
  if (precision < 0) return text;
  return text.substr(0, byte_offset(text, static_cast<size_t>(precision)));
}

std::string code_point_text(int64_t code) {
  if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    raise("%c needs a character or a code point");
  }
  std::string out;
  append_utf8(out, static_cast<char32_t>(code));
  return out;
}

std::string ascii_of(std::string_view repr) {
  std::string out;
  for (const std::string_view c : Characters(repr)) {
    const auto code = static_cast<uint32_t>(utf8_decode(c.data()));
    if (code < 0x80)
      out += c;
    else
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
  }
  return out;
}

}  // namespace dsv3::jinja
