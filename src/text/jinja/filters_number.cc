// Filters on numbers.

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "text/jinja/functions.h"
#include "text/jinja/operators.h"
#include "text/jinja/text.h"

namespace dsv3::jinja {
namespace {

// Digits of Python's int() and float(): underscores only between digits.
bool without_underscores(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto digit = [&](size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at]));
    };
    if (i == 0 || !digit(i - 1) || !digit(i + 1)) return false;
  }
  return true;
}

// Python's int(text, base); false where it raises ValueError.
bool parse_integer(std::string_view text, int base, int64_t& out) {
  std::string digits;
  text = strip(text, kBoth);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.size() > 2 && text[0] == '0') {
    const char letter = static_cast<char>(text[1] | 0x20);
    const int of_prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (of_prefix != 0 && (base == of_prefix || base == 0)) {
      base = of_prefix;
      text.remove_prefix(text[2] == '_' ? 3 : 2);
    }
  }
  if (!without_underscores(text, digits) || digits.empty()) return false;
  if (base == 0) {
    if (digits[0] == '0' && digits.find_first_not_of('0') != std::string::npos) return false;
    base = 10;
  }
  if (digits[0] == '-' || digits[0] == '+') return false;
  if (negative) digits.insert(0, "-");
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), out, base);
  if (end != digits.data() + digits.size()) return false;
  if (error == std::errc::result_out_of_range) raise("integer does not fit 64 bits");
  return error == std::errc();
}

bool parse_float(std::string_view text, double& out) {
  std::string digits;
  if (!without_underscores(strip(text, kBoth), digits) || digits.empty()) return false;
  std::string_view rest = digits;
  if (rest[0] == '-' || rest[0] == '+') rest.remove_prefix(1);
  std::string word = to_lower(rest);
  if (word == "inf" || word == "infinity" || word == "nan") {
    out = word == "nan" ? NAN : digits[0] == '-' ? -INFINITY : INFINITY;
    return true;
  }
  // What from_chars takes beyond Python's floats starts with a letter.
  if (rest.empty() || !(std::isdigit(static_cast<unsigned char>(rest[0])) || rest[0] == '.'))
    return false;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), out);
  if (end != rest.data() + rest.size() || error == std::errc::invalid_argument) return false;
  if (error == std::errc::result_out_of_range)
    out = std::strtod(std::string(rest).c_str(), nullptr);
  if (digits[0] == '-') out = -out;
  return true;
}

bool float_as_integer(double f, Value& out) {
  if (std::isnan(f) || std::isinf(f)) return false;
  if (!(f >= -0x1p63 && f < 0x1p63)) raise("integer does not fit 64 bits");
  out = Value(static_cast<int64_t>(f));
  return true;
}

Value int_filter(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("int", arguments, {"default", "base"});
  require_defined(input);
  const Value otherwise = args[0].is_missing() ? Value(int64_t{0}) : args[0];
  if (input.is_integer()) return Value(input.as_int());
  Value out;
  if (input.is(Kind::kFloat)) {
    if (std::isinf(input.as_float())) raise("cannot convert float infinity to integer");
    return float_as_integer(input.as_float(), out) ? out : otherwise;
  }
  if (!input.is_string()) return otherwise;
  runtime.meter.step(input.text().size() / 8);
  const int64_t base = args[1].is_missing() ? 10 : require_integer(args[1], "base");
  int64_t integer = 0;
  double real = 0;
  const bool valid_base = base == 0 || (base >= 2 && base <= 36);
  if (valid_base && parse_integer(input.text(), static_cast<int>(base), integer))
    return Value(integer);
  if (parse_float(input.text(), real) && float_as_integer(real, out)) return out;
  return otherwise;
}

Value float_filter(Runtime&, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("float", arguments, {"default"});
  require_defined(input);
  if (input.is_number()) return Value(input.as_float());
  double real = 0;
  if (input.is_string() && parse_float(input.text(), real)) return Value(real);
  return args[0].is_missing() ? Value(0.0) : args[0];
}

Value abs_filter(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("abs", arguments, {});
  require_defined(input);
  if (!input.is_number()) raise("bad operand type for abs(): '{}'", type_name(input));
  if (input.is(Kind::kFloat)) return Value(std::fabs(input.as_float()));
  return input.as_int() < 0 ? unary_operation(runtime, Operator::kNegative, input)
                            : Value(input.as_int());
}

// Python's round(f, digits): correct to the decimal digits of the exact value.
double round_float(double f, int64_t digits) {
  if (!std::isfinite(f)) return f;
  if (digits > 323) return f;
  if (digits < -308) return std::copysign(0.0, f);
  if (digits >= 0) {
    const std::string text = fmt::format("{:.{}f}", f, digits);
    return std::strtod(text.c_str(), nullptr);
  }
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  const double result = std::nearbyint(f / scale) * scale;
  if (std::isinf(result)) raise("rounded value too large to represent");
  return result;
}

int64_t round_integer(int64_t v, int64_t digits) {
  if (digits >= 0) return v;
  if (digits < -18) return 0;
  int64_t scale = 1;
  for (int64_t i = 0; i < -digits; ++i) scale *= 10;
  int64_t low = v / scale * scale;
  if (v < low) low -= scale;
  const int64_t rest = v - low;
  if (rest * 2 > scale || (rest * 2 == scale && (low / scale) % 2 != 0)) {
    if (__builtin_add_overflow(low, scale, &low)) raise("integer does not fit 64 bits");
  }
  return low;
}

Value round_filter(Runtime&, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("round", arguments, {"precision", "method"});
  const int64_t precision = args[0].is_missing() ? 0 : require_integer(args[0], "precision");
  const std::string method = args[1].is_missing() ? "common" : require_string(args[1], "method");
  if (method != "common" && method != "ceil" && method != "floor") {
    raise("method must be common, ceil or floor");
  }
  require_defined(input);
  if (!input.is_number()) raise("type {} doesn't define __round__ method", type_name(input));
  if (method == "common") {
    if (input.is(Kind::kFloat)) return Value(round_float(input.as_float(), precision));
    return Value(round_integer(input.as_int(), precision));
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = input.as_float() * scale;
  if (!std::isfinite(scaled) || scale == 0)
    raise("cannot round {} to {} digits", repr_float(input.as_float()), precision);
  const double rounded = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return Value((rounded == 0 ? 0.0 : rounded) / scale);
}

Value filesizeformat(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("filesizeformat", arguments, {"binary"});
  double bytes = 0;
  require_defined(input);
  if (input.is_number())
    bytes = input.as_float();
  else if (!input.is_string() || !parse_float(input.text(), bytes))
    raise("filesizeformat needs a number");
  const bool binary = truth(args[0]);
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return runtime.string("1 Byte");
  if (bytes < base)
    return runtime.string(fmt::format("{} Bytes", static_cast<int64_t>(std::max(bytes, -9e18))));
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  size_t i = 0;
  for (; i + 1 < kPrefixes.size() && bytes >= unit * base; ++i) unit *= base;
  const char prefix = binary && i == 0 ? 'K' : kPrefixes[i];
  return runtime.string(fmt::format("{:.1f} {}{}B", bytes / unit, prefix, binary ? "i" : ""));
}

}  // namespace

const std::vector<FilterEntry>& number_filters() {
  static const std::vector<FilterEntry> filters = {{"int", int_filter},
                                                   {"float", float_filter},
                                                   {"abs", abs_filter},
                                                   {"round", round_filter},
                                                   {"filesizeformat", filesizeformat}};
  return filters;
}

}  // namespace dsv3::jinja
