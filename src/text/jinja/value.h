#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/meter.h"

namespace dsv3::jinja {

/// What a Value holds. The names of Python's types are in the comments where they differ.
enum class Kind : uint8_t {
  kMissing,  // nothing: an empty variable, an argument that was not given
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kObject,  // everything else: ranges, iterators, namespaces, functions, ...
};

/// Something on the heap, counted by its Values. Its size is charged to a Meter, which must live
/// longer; constants of a template have none. The count is atomic because threads share constants.
class Object {
 public:
  Object(Meter* meter, size_t bytes) : meter_(meter), bytes_(bytes) {
    if (meter_) meter_->allocate(bytes_);
  }
  virtual ~Object() {
    if (meter_) meter_->release(bytes_);
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  void retain() const { count_.fetch_add(1, std::memory_order_relaxed); }
  static void drop(const Object* object);

 protected:
  void grow(size_t bytes) {
    if (meter_) meter_->allocate(bytes);
    bytes_ += bytes;
  }

 private:
  mutable std::atomic<uint32_t> count_{0};
  Meter* meter_;
  size_t bytes_;
};

template <typename T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) {
    if (object_) object_->retain();
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_) Object::drop(object_);
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

class Value;
class Runtime;
struct Arguments;
struct String;
struct Sequence;
struct Dict;
struct Undefined;
class NativeObject;

/// What a template computes with: Python's values as far as templates see them. Strings, lists and
/// dictionaries never change once made, as Jinja's immutable sandbox has it.
class Value {
 public:
  Value() = default;
  Value(bool b) : kind_(Kind::kBool) { data_.i = b; }
  Value(int64_t i) : kind_(Kind::kInt) { data_.i = i; }
  Value(double f) : kind_(Kind::kFloat) { data_.f = f; }
  template <typename T>
  Value(const T*) = delete;  // would become a bool
  Value(Kind kind, const Object* object) : kind_(kind) {
    data_.object = object;
    object->retain();
  }
  static Value none() {
    Value v;
    v.kind_ = Kind::kNone;
    return v;
  }

  Value(const Value& other) : kind_(other.kind_), data_(other.data_) {
    if (on_heap()) data_.object->retain();
  }
  Value(Value&& other) noexcept
      : kind_(std::exchange(other.kind_, Kind::kMissing)), data_(other.data_) {}
  Value& operator=(Value other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Value() {
    if (on_heap()) Object::drop(data_.object);
  }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_missing() const { return kind_ == Kind::kMissing; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  /// A bool counts as an integer, as in Python.
  bool is_integer() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool is_number() const { return is_integer() || kind_ == Kind::kFloat; }

  bool as_bool() const { return data_.i != 0; }
  int64_t as_int() const { return data_.i; }
  /// Of any number.
  double as_float() const { return kind_ == Kind::kFloat ? data_.f : static_cast<double>(data_.i); }
  inline const String& string() const;
  inline const std::string& text() const;
  inline const Undefined& undefined() const;
  inline const Sequence& sequence() const;
  inline const Dict& dict() const;
  inline NativeObject& native() const;
  /// The native object where it is of this class, else null.
  template <typename T>
  T* native_as() const;
  bool same_object(const Value& other) const {
    return kind_ == other.kind_ &&
           (on_heap() ? data_.object == other.data_.object : data_.i == other.data_.i);
  }

 private:
  bool on_heap() const { return kind_ == Kind::kUndefined || kind_ >= Kind::kString; }

  Kind kind_ = Kind::kMissing;
  union {
    int64_t i;
    double f;
    const Object* object;
  } data_ = {0};
};

struct Undefined : Object {
  Undefined(Meter* meter, std::string why)
      : Object(meter, sizeof(Undefined) + why.size()), message(std::move(why)) {}
  std::string message;  // of the error that using it raises
};

/// Valid UTF-8. `markup` is Python's Markup: text that is already HTML, which escapes what it is
/// joined with.
struct String : Object {
  String(Meter* meter, std::string utf8, bool is_markup);
  bool ascii() const { return length == text.size(); }
  std::string text;
  size_t length;  // characters
  bool markup;
};

/// Containers know how deep they are nested, and are refused beyond this: all that walks them,
/// their destruction included, is recursive.
constexpr uint32_t kMaxValueDepth = 300;

/// A list or a tuple.
struct Sequence : Object {
  Sequence(Meter* meter, std::vector<Value> values);
  std::vector<Value> items;
  uint32_t depth;
  bool group = false;  // a pair of the filter groupby, with the names `grouper` and `list`
};

/// In order of insertion.
struct Dict : Object {
  explicit Dict(Meter* meter) : Object(meter, sizeof(Dict)) {}
  const Value* find(const Value& key, Meter& meter) const;
  const Value* find(std::string_view key) const;
  /// Only while the dictionary is being made.
  void set(Value key, Value value, Meter& meter);

  std::vector<std::pair<Value, Value>> items;
  uint32_t depth = 1;

 private:
  template <typename Equal>
  size_t lookup(size_t hash, Equal equal) const;
  std::vector<size_t> hashes_;
  std::vector<uint32_t> table_;  // item number + 1, 0 where empty; none for few items
};

/// Arguments of a call, in Python's two kinds.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Whatever has own attributes or can be called.
class NativeObject : public Object {
 public:
  using Object::Object;
  virtual std::string_view type_name() const = 0;
  virtual std::string repr(Runtime&) const { return fmt::format("<{} object>", type_name()); }
  /// False where there is no such attribute.
  virtual bool attribute(Runtime&, std::string_view, Value&) { return false; }
  virtual bool callable() const { return false; }
  virtual Value call(Runtime&, Arguments&);
  /// False where it is not iterable; may only be asked once of an iterator.
  virtual bool items(Runtime&, std::vector<Value>&) { return false; }
  virtual bool iterable() const { return false; }
  /// Negative where it has none.
  virtual int64_t length() const { return -1; }
  virtual bool item(Runtime&, int64_t, Value&) const { return false; }
  /// Items `start` to before `stop` in steps of `step`; false where it cannot be sliced.
  virtual bool slice(Runtime&, int64_t start, int64_t stop, int64_t step, Value& out) const;
  virtual bool truth() const { return length() != 0; }
  /// Lets go of all values, at the end of a rendering: for those that can refer to themselves.
  virtual void clear() {}
  uint32_t depth() const { return depth_; }

 protected:
  /// To be told of each value that it holds for good.
  void holds(const Value& v);

 private:
  uint32_t depth_ = 0;
};

inline const String& Value::string() const { return *static_cast<const String*>(data_.object); }
inline const std::string& Value::text() const { return string().text; }
inline const Undefined& Value::undefined() const {
  return *static_cast<const Undefined*>(data_.object);
}
inline const Sequence& Value::sequence() const {
  return *static_cast<const Sequence*>(data_.object);
}
inline const Dict& Value::dict() const { return *static_cast<const Dict*>(data_.object); }
inline NativeObject& Value::native() const {
  return *static_cast<NativeObject*>(const_cast<Object*>(data_.object));
}
template <typename T>
T* Value::native_as() const {
  return kind_ == Kind::kObject ? dynamic_cast<T*>(&native()) : nullptr;
}

/// `meter` null: a constant of the template. The text must be valid UTF-8.
Value make_string(Meter* meter, std::string text, bool markup = false);
Value make_list(Meter* meter, std::vector<Value> items);
Value make_tuple(Meter* meter, std::vector<Value> items);
Value make_undefined(Meter* meter, std::string message);
template <typename T, typename... Args>
Value make_object(Args&&... args) {
  return Value(Kind::kObject, new T(std::forward<Args>(args)...));
}

/// Python's name of the type: "str", "NoneType", "dict".
std::string type_name(const Value& v);
bool truth(const Value& v);
/// Python's ==. The Meter pays for each comparison.
bool equal(const Value& a, const Value& b, Meter& meter);
/// Equal values have equal hashes; raises for lists and dictionaries.
size_t hash_of(const Value& v, Meter& meter);

}  // namespace dsv3::jinja
