#include <charconv>
#include <cmath>

#include "text/jinja/runtime.h"
#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

class ReprWriter {
 public:
  explicit ReprWriter(Runtime& runtime) : runtime_(runtime) {}

  std::string run(const Value& v) {
    write(v);
    return std::move(out_);
  }

 private:
  void write(const Value& v) {
    runtime_.meter.step();
    runtime_.meter.check_string(out_.size());
    switch (v.kind()) {
      case Kind::kMissing:
      case Kind::kUndefined:
        out_ += "Undefined";
        return;
      case Kind::kNone:
        out_ += "None";
        return;
      case Kind::kBool:
        out_ += v.as_bool() ? "True" : "False";
        return;
      case Kind::kInt:
        out_ += std::to_string(v.as_int());
        return;
      case Kind::kFloat:
        out_ += repr_float(v.as_float());
        return;
      case Kind::kString:
        runtime_.meter.step_text(v.text().size());
        out_ += v.string().markup ? fmt::format("Markup({})", repr_string(v.text()))
                                  : repr_string(v.text());
        return;
      case Kind::kList:
        return sequence('[', v, ']');
      case Kind::kTuple:
        return sequence('(', v, ')');
      case Kind::kDict:
        return dict(v.dict());
      case Kind::kObject: {
        const Runtime::Depth depth(runtime_, 10);
        out_ += v.native().repr(runtime_);
        return;
      }
    }
  }

  void sequence(char open, const Value& v, char close) {
    const Runtime::Depth depth(runtime_);
    const auto& items = v.sequence().items;
    out_ += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(items[i]);
    }
    if (items.size() == 1 && v.is(Kind::kTuple)) out_ += ',';
    out_ += close;
  }

  void dict(const Dict& dict) {
    const Runtime::Depth depth(runtime_);
    out_ += '{';
    bool first = true;
    for (const auto& [key, value] : dict.items) {
      if (!first) out_ += ", ";
      first = false;
      write(key);
      out_ += ": ";
      write(value);
    }
    out_ += '}';
  }

  Runtime& runtime_;
  std::string out_;
};

}  // namespace

std::string repr_float(double f) {
  if (std::isnan(f)) return "nan";
  if (std::isinf(f)) return f < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto shortest =
      std::to_chars(buffer, buffer + sizeof buffer, f, std::chars_format::scientific);
  // d.ddde+xx: Python writes it out for exponents from -4 to 15.
  const std::string text(buffer, shortest.ptr);
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}e{}{:02}", text.substr(0, e), exponent < 0 ? '-' : '+',
                       std::abs(exponent));
  }
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, f, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}

std::string repr_string(std::string_view s) {
  const bool single = s.find('\'') != s.npos, both = single && s.find('"') != s.npos;
  const char quote = single && !both ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < s.size();) {
    const size_t n = utf8_length(static_cast<uint8_t>(s[at]));
    const char32_t c = utf8_decode(s.data() + at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += s[at];
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c >= 0x20 && c < 0x7F) {
      out += s[at];
    } else if (c >= 0x80 && is_printable(c)) {
      out += s.substr(at, n);
    } else {
      const auto code = static_cast<uint32_t>(c);
      out += c < 0x100     ? fmt::format("\\x{:02x}", code)
             : c < 0x10000 ? fmt::format("\\u{:04x}", code)
                           : fmt::format("\\U{:08x}", code);
    }
    at += n;
  }
  out += quote;
  return out;
}

std::string repr(Runtime& runtime, const Value& v) { return ReprWriter(runtime).run(v); }

std::string to_text(Runtime& runtime, const Value& v) {
  if (v.is_string()) return v.text();
  if (v.is_undefined()) return "";
  return repr(runtime, v);
}

}  // namespace dsv3::jinja
