#pragma once

#include <ctime>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace dsv3::jinja {

/// What one rendering shares: its meter, its clock, and the making of values that the meter pays.
class Runtime {
 public:
  Runtime(const TemplateLimits& limits, std::optional<std::tm> now) : meter(limits), now_(now) {}
  ~Runtime() {
    for (const Value& v : kept_) v.native().clear();
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Value string(std::string text, bool markup = false) {
    return make_string(&meter, std::move(text), markup);
  }
  Value string(std::string_view text, bool markup = false) {
    return make_string(&meter, std::string(text), markup);
  }
  Value string(const char* text) { return make_string(&meter, text); }
  Value list(std::vector<Value> items) {
    meter.step(items.size());
    return make_list(&meter, std::move(items));
  }
  Value tuple(std::vector<Value> items) { return make_tuple(&meter, std::move(items)); }
  Value undefined(std::string message) { return make_undefined(&meter, std::move(message)); }
  /// The pieces of a text.
  Value strings(const std::vector<std::string_view>& parts, bool markup = false);

  /// For objects that can come to refer to themselves: keeps one to the end, and then clears it.
  void keep(const Value& v) { kept_.push_back(v); }

  std::tm local_time() const;

  /// Counts a level of recursion while it lives, or several for one that takes more of the stack;
  /// raises beyond what the stack can take.
  class Depth {
   public:
    explicit Depth(Runtime& runtime, int levels = 1) : runtime_(runtime), levels_(levels) {
      if (runtime_.depth_ + levels_ > kMaxRecursion) raise("recursion is too deep");
      runtime_.depth_ += levels_;
    }
    ~Depth() { runtime_.depth_ -= levels_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Runtime& runtime_;
    int levels_;
  };

  Meter meter;

 private:
  static constexpr int kMaxRecursion = 3000;
  std::optional<std::tm> now_;
  int depth_ = 0;
  std::vector<Value> kept_;
};

// ---- access ----

/// What iteration over a value gives. Iterators are used up by it.
class Items {
 public:
  Items(Runtime& runtime, const Value& v);
  Items(const Items&) = delete;
  Items& operator=(const Items&) = delete;
  const Value* begin() const { return data_; }
  const Value* end() const { return data_ + size_; }
  size_t size() const { return size_; }
  const Value& operator[](size_t i) const { return data_[i]; }
  std::vector<Value> copy() const { return std::vector<Value>(begin(), end()); }
  void clear() {
    size_ = 0;
    own_.clear();
    holder_ = Value();
  }

 private:
  Value holder_;
  std::vector<Value> own_;
  const Value* data_ = nullptr;
  size_t size_ = 0;
};

bool is_iterable(const Value& v);
/// Negative where it has no length.
int64_t length_of(const Value& v);

/// `object.name` and `object[key]` of templates: the one tries attributes, then items, the other
/// items, then attributes. Undefined where there is neither; raises on undefined objects.
Value get_attribute(Runtime& runtime, const Value& object, std::string_view name);
Value get_item(Runtime& runtime, const Value& object, const Value& key);
/// `object[start:stop:step]`; missing parts are absent.
Value get_slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop,
                const Value& step);
Value call_value(Runtime& runtime, const Value& callee, Arguments& arguments);

/// A method of a string, list, tuple or dictionary; missing where there is none.
Value find_method(Runtime& runtime, const Value& object, std::string_view name);

// ---- text ----

/// Python's str(): what a template prints.
std::string to_text(Runtime& runtime, const Value& v);
std::string repr(Runtime& runtime, const Value& v);
/// Python's pprint.pformat.
std::string pretty(Runtime& runtime, const Value& v);
std::string repr_string(std::string_view s);
std::string repr_float(double f);
/// `format % arguments`
Value format_percent(Runtime& runtime, const Value& format, const Value& arguments);
/// format.format(...)
Value format_braces(Runtime& runtime, const Value& format, const Arguments& arguments);

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  std::optional<std::string> indent;  // of one level
  std::string item_separator = ", ", key_separator = ": ";
};
/// Python's json.dumps.
std::string to_json(Runtime& runtime, const Value& v, const JsonStyle& style);

// ---- arguments ----

/// The values of a function's parameters by Python's rules; missing where not given. The first
/// `required` must be given.
std::vector<Value> bind_arguments(std::string_view function, Arguments& arguments,
                                  std::initializer_list<std::string_view> names,
                                  size_t required = 0);
int64_t require_integer(const Value& v, std::string_view what);
const std::string& require_string(const Value& v, std::string_view what);
/// Raises its message where the value is undefined.
void require_defined(const Value& v);

}  // namespace dsv3::jinja
