#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/runtime.h"

namespace dsv3::jinja {

/// namespace(): what a template can change.
class Namespace : public NativeObject {
 public:
  explicit Namespace(Meter& meter)
      : NativeObject(&meter, sizeof(*this)), meter_(meter), values_(new Dict(&meter)) {}
  std::string_view type_name() const override { return "Namespace"; }
  std::string repr(Runtime& runtime) const override;
  bool attribute(Runtime&, std::string_view name, Value& out) override;
  bool truth() const override { return true; }
  void clear() override { values_ = Ref<Dict>(); }
  void set(const std::string& name, const Value& value) {
    values_->set(make_string(&meter_, name), value, meter_);
  }
  void set(const Value& name, const Value& value) { values_->set(name, value, meter_); }

 private:
  Meter& meter_;
  Ref<Dict> values_;
  mutable bool printing_ = false;
};

/// A generator or other iterator of Python: it can be gone through once, has no length, and is no
/// list to tojson. Here its items are ready from the start; an error that making them came upon is
/// raised where it would be in Python, when the items before it are used up.
class Iterator : public NativeObject {
 public:
  Iterator(Meter& meter, std::string_view type, std::vector<Value> items,
           std::optional<Failure> failure = {})
      : NativeObject(&meter, sizeof(*this) + items.size() * sizeof(Value)),
        type_(type),
        items_(std::move(items)),
        failure_(std::move(failure)) {
    for (const Value& v : items_) holds(v);
  }
  std::string_view type_name() const override { return type_; }
  bool items(Runtime&, std::vector<Value>& out) override {
    out.assign(items_.begin() + static_cast<ptrdiff_t>(next_), items_.end());
    next_ = items_.size();
    if (failure_) throw *failure_;
    return true;
  }
  bool iterable() const override { return true; }
  bool truth() const override { return true; }
  /// The next item; false at the end.
  bool take(Value& out) {
    if (next_ == items_.size()) {
      if (failure_) throw *failure_;
      return false;
    }
    out = items_[next_++];
    return true;
  }

 private:
  std::string_view type_;
  std::vector<Value> items_;
  std::optional<Failure> failure_;
  size_t next_ = 0;
};

/// What a generator function would give: `produce` appends the items to the vector it is given.
template <typename Produce>
Value make_generator(Runtime& runtime, Produce produce) {
  std::vector<Value> items;
  std::optional<Failure> failure;
  try {
    produce(items);
  } catch (const Failure& f) {
    failure = f;
  }
  return make_object<Iterator>(runtime.meter, "generator", std::move(items), std::move(failure));
}

/// range(...)
class Range : public NativeObject {
 public:
  Range(Meter& meter, int64_t start, int64_t stop, int64_t step, int64_t length)
      : NativeObject(&meter, sizeof(*this)),
        start_(start),
        stop_(stop),
        step_(step),
        length_(length) {}
  std::string_view type_name() const override { return "range"; }
  std::string repr(Runtime&) const override;
  bool attribute(Runtime& runtime, std::string_view name, Value& out) override;
  bool items(Runtime& runtime, std::vector<Value>& out) override;
  bool iterable() const override { return true; }
  int64_t length() const override { return length_; }
  bool item(Runtime&, int64_t index, Value& out) const override;
  bool slice(Runtime&, int64_t start, int64_t stop, int64_t step, Value& out) const override;

 private:
  static Value index(Runtime& runtime, const Value& self, Arguments& arguments);
  static Value count(Runtime& runtime, const Value& self, Arguments& arguments);
  /// Where in the range; -1 where it is not.
  int64_t position(Runtime& runtime, const Value& v);

  int64_t start_, stop_, step_, length_;
};

/// dict.keys(), dict.values() and dict.items()
class DictView : public NativeObject {
 public:
  enum Part : uint8_t { kKeys, kValues, kItems };
  DictView(Meter& meter, const Value& dict, Part part)
      : NativeObject(&meter, sizeof(*this)), dict_(dict), part_(part) {
    holds(dict);
  }
  std::string_view type_name() const override {
    return part_ == kKeys ? "dict_keys" : part_ == kValues ? "dict_values" : "dict_items";
  }
  std::string_view reversed_type() const {
    return part_ == kKeys     ? "dict_reversekeyiterator"
           : part_ == kValues ? "dict_reversevalueiterator"
                              : "dict_reverseitemiterator";
  }
  std::string repr(Runtime& runtime) const override;
  bool items(Runtime& runtime, std::vector<Value>& out) override;
  bool iterable() const override { return true; }
  int64_t length() const override { return static_cast<int64_t>(dict_.dict().items.size()); }

 private:
  std::vector<Value> list(Runtime& runtime) const;
  Value dict_;
  Part part_;
};

/// A function of the library; with `self`, a method.
class Function : public NativeObject {
 public:
  using Body = Value (*)(Runtime&, const Value& self, Arguments&);
  Function(Meter* meter, std::string_view name, Body body, const Value& self = {})
      : NativeObject(meter, sizeof(*this)), name_(name), body_(body), self_(self) {
    holds(self);
  }
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  std::string repr(Runtime& runtime) const override;
  bool callable() const override { return true; }
  bool truth() const override { return true; }
  Value call(Runtime& runtime, Arguments& arguments) override {
    return body_(runtime, self_, arguments);
  }

 private:
  std::string_view name_;
  Body body_;
  Value self_;
};

}  // namespace dsv3::jinja
