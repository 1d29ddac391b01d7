// Python's "..." % values.

#include <cmath>

#include "text/jinja/format_spec.h"
#include "text/jinja/objects.h"
#include "text/jinja/text.h"

namespace dsv3::jinja {
namespace {

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
    if (!used_all()) raise("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  // Whatever can be subscripted counts as a mapping, of which nothing needs to be used.
  bool used_all() const {
    if (tuple_) return by_name_ || next_ >= arguments_.sequence().items.size();
    return by_name_ || next_ > 0 || arguments_.is(Kind::kDict) || arguments_.is(Kind::kList) ||
           arguments_.is_undefined() || arguments_.native_as<Range>();
  }

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
      const int64_t n = require_integer(next(), "* of a format");
      if (n > INT32_MAX || n < -INT32_MAX) raise("width or precision {} is too big", n);
      return n;
    }
    int64_t n = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_)
      n = std::min<int64_t>(n * 10 + (peek() - '0'), INT32_MAX);
    return n;
  }

  // "(key)" in front of a conversion.
  Value named_value() {
    size_t end = at_;
    for (int open = 0; end < format_.size(); ++end) {
      if (format_[end] == '(') ++open;
      if (format_[end] == ')' && --open == 0) break;
    }
    if (end == format_.size()) raise("incomplete format key");
    if (!arguments_.is(Kind::kDict)) raise("format requires a mapping");
    const std::string_view key = format_.substr(at_ + 1, end - at_ - 1);
    const Value* found = arguments_.dict().find(key);
    if (!found) raise("{}", repr_string(key));
    by_name_ = true;
    at_ = end + 1;
    return *found;
  }

  void conversion() {
    runtime_.meter.step();
    if (peek() == '%') {
      ++at_;
      out_ += '%';
      return;
    }
    Value named;
    if (peek() == '(') named = named_value();
    FormatSpec spec;
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
    if (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    const char c = peek();
    ++at_;
    const Value v = named.is_missing() ? next() : named;
    convert(c, v, spec);
  }

  void convert(char c, const Value& v, FormatSpec spec) {
    const bool zeros = spec.fill == "0" && spec.align != '<';
    spec.fill = " ";
    const auto number = [&](char type) {
      spec.type = type;
      if (!zeros) return;
      spec.fill = "0";
      spec.align = '=';
    };
    switch (c) {
      case 's':
        return text(cut_to_precision(to_text(runtime_, v), spec.precision), v, spec);
      case 'r':
        return text(cut_to_precision(repr(runtime_, v), spec.precision), v, spec);
      case 'a':
        return text(cut_to_precision(ascii_of(repr(runtime_, v)), spec.precision), v, spec);
      case 'c':
        if (v.is_integer()) return text(code_point_text(v.as_int()), v, spec);
        if (v.is_string() && v.string().length == 1) return text(v.text(), v, spec);
        raise("%c requires an int or a unicode character, not {}", type_name(v));
      case 'd':
      case 'i':
      case 'u':
        require_defined(v);
        if (!v.is_number()) raise("%{} format: a real number is required, not {}", c, type_name(v));
        number('d');
        out_ += format_integer(runtime_, integer_of(v), spec);
        return;
      case 'x':
      case 'X':
      case 'o':
        require_defined(v);
        if (!v.is_integer()) raise("%{} format: an integer is required, not {}", c, type_name(v));
        number(c);
        out_ += format_integer(runtime_, v.as_int(), spec);
        return;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        require_defined(v);
        if (!v.is_number()) raise("must be real number, not {}", type_name(v));
        number(c);
        out_ += format_float(runtime_, v.as_float(), spec);
        return;
      default:
        raise("unsupported format character '{}'", c);
    }
  }

  void text(std::string text, const Value& v, const FormatSpec& spec) {
    if (markup_ && !(v.is_string() && v.string().markup)) text = escape_html(text);
    out_ += padded(runtime_, "", text, spec);
  }

  static int64_t integer_of(const Value& v) {
    if (!v.is(Kind::kFloat)) return v.as_int();
    const double f = v.as_float();
    if (!std::isfinite(f)) raise("cannot convert float {} to integer", repr_float(f));
    if (!(f >= -0x1p63 && f < 0x1p63)) raise("integer does not fit 64 bits");
    return static_cast<int64_t>(f);
  }

  Runtime& runtime_;
  std::string_view format_;
  bool markup_;
  const Value& arguments_;
  bool tuple_, by_name_ = false;
  size_t next_ = 0, at_ = 0;
  std::string out_;
};

}  // namespace

Value format_percent(Runtime& runtime, const Value& format, const Value& arguments) {
  runtime.meter.step_text(format.text().size());
  return runtime.string(PercentFormatter(runtime, format, arguments).run(), format.string().markup);
}

}  // namespace dsv3::jinja
