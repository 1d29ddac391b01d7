#include "text/jinja/json.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

// json.dumps
class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  std::string run(const Value& v) {
    write(v);
    return std::move(out_);
  }

 private:
  void write(const Value& v) {
    runtime_.meter.step();
    runtime_.meter.check_string(out_.size());
    switch (v.kind()) {
      case Kind::kString:
        return string(v.text());
      case Kind::kList:
      case Kind::kTuple:
        return sequence(v.sequence());
      case Kind::kDict:
        return dict(v.dict());
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kFloat:
        out_ += scalar(v);
        return;
      default:
        raise("Object of type {} is not JSON serializable", type_name(v));
    }
  }

  static std::string scalar(const Value& v) {
    if (v.is_none()) return "null";
    if (v.is(Kind::kBool)) return v.as_bool() ? "true" : "false";
    if (v.is(Kind::kInt)) return std::to_string(v.as_int());
    const double f = v.as_float();
    if (std::isnan(f)) return "NaN";
    if (std::isinf(f)) return f < 0 ? "-Infinity" : "Infinity";
    return repr_float(f);
  }

  void string(std::string_view s) {
    runtime_.meter.step_text(s.size());
    out_ += '"';
    for (size_t at = 0; at < s.size();) {
      const auto byte = static_cast<uint8_t>(s[at]);
      const size_t n = utf8_length(byte);
      switch (byte) {
        case '"':
          out_ += "\\\"";
          break;
        case '\\':
          out_ += "\\\\";
          break;
        case '\n':
          out_ += "\\n";
          break;
        case '\r':
          out_ += "\\r";
          break;
        case '\t':
          out_ += "\\t";
          break;
        case '\b':
          out_ += "\\b";
          break;
        case '\f':
          out_ += "\\f";
          break;
        default:
          if (byte < 0x20)
            out_ += fmt::format("\\u{:04x}", byte);
          else if (byte < 0x80 && (byte != 0x7F || !style_.ensure_ascii))
            out_ += s[at];
          else if (!style_.ensure_ascii)
            out_ += s.substr(at, n);
          else
            escape(utf8_decode(s.data() + at));
      }
      at += n;
    }
    out_ += '"';
  }

  void escape(char32_t c) {
    auto code = static_cast<uint32_t>(c);
    if (code >= 0x10000) {
      code -= 0x10000;
      out_ += fmt::format("\\u{:04x}", 0xD800 + (code >> 10));
      code = 0xDC00 + (code & 0x3FF);
    }
    out_ += fmt::format("\\u{:04x}", code);
  }

  void new_line() {
    if (!style_.indent) return;
    out_ += '\n';
    runtime_.meter.check_string(out_.size() + style_.indent->size() * static_cast<size_t>(depth_));
    for (int i = 0; i < depth_; ++i) out_ += *style_.indent;
  }

  // Braces around what `item` writes for each of `n` items.
  template <typename Item>
  void enclosed(char open, char close, size_t n, Item item) {
    out_ += open;
    if (n > 0) {
      ++depth_;
      for (size_t i = 0; i < n; ++i) {
        if (i > 0) out_ += style_.item_separator;
        new_line();
        item(i);
      }
      --depth_;
      new_line();
    }
    out_ += close;
  }

  void sequence(const Sequence& s) {
    enclosed('[', ']', s.items.size(), [&](size_t i) { write(s.items[i]); });
  }

  void dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [&](const auto* a, const auto* b) {
        return less(runtime_, a->first, b->first);
      });
    }
    enclosed('{', '}', items.size(), [&](size_t i) {
      const Value& key = items[i]->first;
      if (key.is_string())
        string(key.text());
      else if (key.is_none() || key.is_number())
        string(scalar(key));
      else
        raise("keys must be str, int, float, bool or None, not {}", type_name(key));
      out_ += style_.key_separator;
      write(items[i]->second);
    });
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  std::string out_;
  int depth_ = 0;
};

// Builds values while the library reads the text.
class Builder {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  explicit Builder(const std::string& where) : where_(where), meter_(unlimited()) {}
  Value take() { return std::move(result_); }

  bool null() { return add(Value::none()); }
  bool boolean(bool v) { return add(Value(v)); }
  bool number_integer(number_integer_t v) { return add(Value(int64_t{v})); }
  bool number_unsigned(number_unsigned_t v) {
    if (v > INT64_MAX) fail("{}: integer {} does not fit 64 bits", where_, v);
    return add(Value(static_cast<int64_t>(v)));
  }
  bool number_float(number_float_t v, const string_t& text) {
    if (text.find_first_of(".eE") == string_t::npos) {
      fail("{}: integer {} does not fit 64 bits", where_, text.substr(0, 40));
    }
    return add(Value(v));
  }
  bool string(string_t& v) { return add(make_string(nullptr, std::move(v))); }
  bool binary(binary_t&) { return false; }
  bool start_object(size_t) { return open(true); }
  bool start_array(size_t) { return open(false); }
  bool key(string_t& v) {
    levels_.back().key = std::move(v);
    return true;
  }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
    fail("{}: {}", where_, json_error_reason(error));
  }

 private:
  struct Level {
    Ref<Dict> dict;  // null in a list
    std::vector<Value> items;
    std::string key;
  };

  static TemplateLimits unlimited() {
    TemplateLimits limits;
    limits.max_steps = UINT64_MAX;
    return limits;
  }

  bool open(bool object) {
    if (levels_.size() >= kMaxValueDepth) {
      fail("{}: nested deeper than {} levels", where_, kMaxValueDepth);
    }
    levels_.emplace_back();
    if (object) levels_.back().dict = Ref<Dict>(new Dict(nullptr));
    return true;
  }

  bool close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    return add(level.dict ? Value(Kind::kDict, level.dict.get())
                          : make_list(nullptr, std::move(level.items)));
  }

  bool add(Value v) {
    if (levels_.empty()) {
      result_ = std::move(v);
    } else if (Level& level = levels_.back(); level.dict) {
      level.dict->set(make_string(nullptr, std::move(level.key)), std::move(v), meter_);
    } else {
      level.items.push_back(std::move(v));
    }
    return true;
  }

  const std::string& where_;
  Meter meter_;
  std::vector<Level> levels_;
  Value result_;
};

}  // namespace

std::string to_json(Runtime& runtime, const Value& v, const JsonStyle& style) {
  return JsonWriter(runtime, style).run(v);
}

Value parse_json_value(std::string_view text, const std::string& where) {
  Builder builder(where);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) fail("{}: not JSON", where);
  return builder.take();
}

}  // namespace dsv3::jinja
