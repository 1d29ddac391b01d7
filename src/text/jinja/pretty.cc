// Python's pprint.pformat: a value in lines of 80 characters, dictionaries sorted by key.

#include <algorithm>

#include "text/jinja/runtime.h"
#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

constexpr int64_t kWidth = 80;

bool key_less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return a.as_float() < b.as_float();
  if (a.is_string() && b.is_string()) return a.text() < b.text();
  return fmt::format("<class '{}'>", type_name(a)) < fmt::format("<class '{}'>", type_name(b));
}

class PrettyPrinter {
 public:
  explicit PrettyPrinter(Runtime& runtime) : runtime_(runtime) {}

  std::string run(const Value& v) {
    format(sorted(v), 0, 0, 1);
    return std::move(out_);
  }

 private:
  /// The value with the keys of all its dictionaries in order.
  Value sorted(const Value& v) {
    const Runtime::Depth depth(runtime_);
    runtime_.meter.step();
    if (v.is_sequence()) {
      std::vector<Value> items;
      for (const Value& item : v.sequence().items) items.push_back(sorted(item));
      return v.is(Kind::kList) ? runtime_.list(std::move(items)) : runtime_.tuple(std::move(items));
    }
    if (!v.is(Kind::kDict)) return v;
    std::vector<std::pair<Value, Value>> entries = v.dict().items;
    std::stable_sort(entries.begin(), entries.end(),
                     [](const auto& a, const auto& b) { return key_less(a.first, b.first); });
    Ref<Dict> out(new Dict(&runtime_.meter));
    for (const auto& [key, value] : entries) out->set(key, sorted(value), runtime_.meter);
    return Value(Kind::kDict, out.get());
  }

  // `indent` is where the value begins, `allowance` how much must still fit behind its last line.
  void format(const Value& v, int64_t indent, int64_t allowance, int level) {
    const Runtime::Depth depth(runtime_);
    const std::string text = repr(runtime_, v);
    if (length(text) <= kWidth - indent - allowance) return write(text);
    if (v.is(Kind::kDict)) return dict(v.dict(), indent, allowance, level + 1);
    if (v.is(Kind::kList)) return items(v, '[', "]", indent, allowance, level + 1);
    if (v.is(Kind::kTuple)) {
      const bool single = v.sequence().items.size() == 1;
      return items(v, '(', single ? ",)" : ")", indent, allowance, level + 1);
    }
    if (v.is_string() && !v.string().markup)
      return string(v.text(), text, indent, allowance, level);
    write(text);
  }

  void dict(const Dict& dict, int64_t indent, int64_t allowance, int level) {
    write("{");
    for (size_t i = 0; i < dict.items.size(); ++i) {
      const auto& [key, value] = dict.items[i];
      const bool last = i + 1 == dict.items.size();
      if (i > 0) new_line(",", indent + 1);
      const std::string text = repr(runtime_, key) + ": ";
      write(text);
      format(value, indent + 1 + length(text), last ? allowance + 1 : 1, level);
    }
    write("}");
  }

  void items(const Value& v, char open, std::string_view close, int64_t indent, int64_t allowance,
             int level) {
    const auto& items = v.sequence().items;
    write({&open, 1});
    for (size_t i = 0; i < items.size(); ++i) {
      const bool last = i + 1 == items.size();
      if (i > 0) new_line(",", indent + 1);
      format(items[i], indent + 1, last ? allowance + static_cast<int64_t>(close.size()) : 1,
             level);
    }
    write(close);
  }

  // Several literals, broken at line ends and between words; in parentheses where it stands alone.
  void string(const std::string& text, const std::string& whole, int64_t indent, int64_t allowance,
              int level) {
    if (level == 1) {
      ++indent;
      ++allowance;
    }
    const int64_t width = kWidth - indent;
    std::vector<std::string> chunks;
    const auto lines = split_lines(text, true, runtime_.meter.max_items());
    runtime_.meter.check_items(lines.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      const bool last_line = i + 1 == lines.size();
      const std::string line = repr_string(lines[i]);
      if (length(line) <= width - (last_line ? allowance : 0)) {
        chunks.push_back(line);
        continue;
      }
      std::string_view current, rest = lines[i];
      while (!rest.empty()) {
        const std::string_view part = word_and_space(rest);
        rest.remove_prefix(part.size());
        const std::string_view longer =
            current.empty() ? part : std::string_view(current.data(), current.size() + part.size());
        const bool last = last_line && rest.empty();
        runtime_.meter.step_text(longer.size());
        if (length(repr_string(longer)) > width - (last ? allowance : 0)) {
          if (!current.empty()) chunks.push_back(repr_string(current));
          current = part;
        } else {
          current = longer;
        }
      }
      if (!current.empty()) chunks.push_back(repr_string(current));
    }
    if (chunks.size() <= 1) return write(whole);
    if (level == 1) write("(");
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (i > 0) new_line("", indent);
      write(chunks[i]);
    }
    if (level == 1) write(")");
  }

  static std::string_view word_and_space(std::string_view text) {
    const std::string_view from_space = after(text, [](char32_t c) { return !is_space(c); });
    const std::string_view rest = after(from_space, is_space);
    return text.substr(0, text.size() - rest.size());
  }

  // What follows the characters at the beginning that `matches` takes.
  template <typename Matches>
  static std::string_view after(std::string_view text, Matches matches) {
    size_t end = 0;
    for (const std::string_view c : Characters(text)) {
      if (!matches(utf8_decode(c.data()))) break;
      end += c.size();
    }
    return text.substr(end);
  }

  static int64_t length(std::string_view text) {
    return static_cast<int64_t>(count_characters(text));
  }
  void new_line(std::string_view after, int64_t indent) {
    write(after);
    write("\n" + std::string(static_cast<size_t>(indent), ' '));
  }
  void write(std::string_view text) {
    runtime_.meter.check_string(out_.size() + text.size());
    runtime_.meter.step_text(text.size());
    out_ += text;
  }

  Runtime& runtime_;
  std::string out_;
};

}  // namespace

std::string pretty(Runtime& runtime, const Value& v) { return PrettyPrinter(runtime).run(v); }

}  // namespace dsv3::jinja
