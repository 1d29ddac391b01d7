#include "text/jinja/value.h"

#include <cmath>
#include <cstring>
#include <functional>

#include "text/jinja/text.h"

namespace dsv3::jinja {
namespace {

uint32_t depth_of(const Value& v) {
  if (v.is_sequence()) return v.sequence().depth;
  if (v.is(Kind::kDict)) return v.dict().depth;
  if (v.is(Kind::kObject)) return v.native().depth();
  return 0;
}

uint32_t depth_around(uint32_t depth, const Value& inner) {
  const uint32_t around = depth_of(inner) + 1;
  if (around > kMaxValueDepth) raise("values nested deeper than {} levels", kMaxValueDepth);
  return std::max(depth, around);
}

// The integer that a float is equal to, if there is one.
bool as_exact_integer(double f, int64_t& out) {
  if (!(f >= -0x1p63 && f < 0x1p63) || f != std::trunc(f)) return false;
  out = static_cast<int64_t>(f);
  return true;
}

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) return a.as_float() == b.as_float();
  if (!a.is(Kind::kFloat) && !b.is(Kind::kFloat)) return a.as_int() == b.as_int();
  const Value& f = a.is(Kind::kFloat) ? a : b;
  const Value& i = a.is(Kind::kFloat) ? b : a;
  int64_t exact;
  return as_exact_integer(f.as_float(), exact) && exact == i.as_int();
}

bool equal_dicts(const Dict& a, const Dict& b, Meter& meter) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    const Value* other = b.find(key, meter);
    if (!other || !equal(value, *other, meter)) return false;
  }
  return true;
}

constexpr size_t kSmallDict = 8;

}  // namespace

void Object::drop(const Object* object) {
  if (object->count_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete object;
}

String::String(Meter* meter, std::string utf8, bool is_markup)
    : Object(meter, sizeof(String) + utf8.capacity()),
      text(std::move(utf8)),
      length(count_characters(text)),
      markup(is_markup) {}

Sequence::Sequence(Meter* meter, std::vector<Value> values)
    : Object(meter, sizeof(Sequence) + values.capacity() * sizeof(Value)),
      items(std::move(values)),
      depth(1) {
  for (const Value& v : items) depth = depth_around(depth, v);
}

template <typename Equal>
size_t Dict::lookup(size_t hash, Equal is_key) const {
  if (table_.empty()) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (hashes_[i] == hash && is_key(items[i].first)) return i;
    }
    return items.size();
  }
  const size_t mask = table_.size() - 1;
  for (size_t at = hash & mask; table_[at] != 0; at = (at + 1) & mask) {
    const size_t i = table_[at] - 1;
    if (hashes_[i] == hash && is_key(items[i].first)) return i;
  }
  return items.size();
}

const Value* Dict::find(const Value& key, Meter& meter) const {
  const size_t i =
      lookup(hash_of(key, meter), [&](const Value& other) { return equal(key, other, meter); });
  return i < items.size() ? &items[i].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  const size_t i = lookup(std::hash<std::string_view>()(key), [&](const Value& other) {
    return other.is_string() && other.text() == key;
  });
  return i < items.size() ? &items[i].second : nullptr;
}

void Dict::set(Value key, Value value, Meter& meter) {
  depth = depth_around(depth_around(depth, key), value);
  const size_t hash = hash_of(key, meter);
  const size_t i = lookup(hash, [&](const Value& other) { return equal(key, other, meter); });
  if (i < items.size()) {
    items[i].second = std::move(value);
    return;
  }
  grow(2 * sizeof(Value) + sizeof(size_t) + 4 * sizeof(uint32_t));
  items.emplace_back(std::move(key), std::move(value));
  hashes_.push_back(hash);
  const auto insert = [this](size_t item) {
    const size_t mask = table_.size() - 1;
    size_t at = hashes_[item] & mask;
    while (table_[at] != 0) at = (at + 1) & mask;
    table_[at] = static_cast<uint32_t>(item) + 1;
  };
  if (items.size() <= kSmallDict) return;
  if (items.size() * 2 > table_.size()) {
    table_.assign(std::max<size_t>(table_.size() * 2, 32), 0);
    for (size_t n = 0; n < items.size(); ++n) insert(n);
  } else {
    insert(items.size() - 1);
  }
}

Value NativeObject::call(Runtime&, Arguments&) {
  raise("'{}' object is not callable", type_name());
}

bool NativeObject::slice(Runtime&, int64_t, int64_t, int64_t, Value&) const { return false; }

void NativeObject::holds(const Value& v) { depth_ = depth_around(depth_, v); }

Value make_string(Meter* meter, std::string text, bool markup) {
  if (meter) {
    meter->check_string(text.size());
    meter->step_text(text.size());
  }
  return Value(Kind::kString, new String(meter, std::move(text), markup));
}

Value make_list(Meter* meter, std::vector<Value> items) {
  return Value(Kind::kList, new Sequence(meter, std::move(items)));
}

Value make_tuple(Meter* meter, std::vector<Value> items) {
  return Value(Kind::kTuple, new Sequence(meter, std::move(items)));
}

Value make_undefined(Meter* meter, std::string message) {
  return Value(Kind::kUndefined, new Undefined(meter, std::move(message)));
}

std::string type_name(const Value& v) {
  switch (v.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return v.string().markup ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return std::string(v.native().type_name());
  }
  return "";
}

bool truth(const Value& v) {
  switch (v.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return v.as_int() != 0;
    case Kind::kFloat:
      return v.as_float() != 0;
    case Kind::kString:
      return !v.text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !v.sequence().items.empty();
    case Kind::kDict:
      return !v.dict().items.empty();
    case Kind::kObject:
      return v.native().truth();
  }
  return false;
}

bool equal(const Value& a, const Value& b, Meter& meter) {
  meter.step();
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.kind() != b.kind()) return false;
  if (a.is_undefined() || a.is_none()) return true;
  if (a.is_string()) {
    if (a.text().size() != b.text().size()) return false;
    meter.step_text(a.text().size());
    return a.text() == b.text();
  }
  if (a.same_object(b)) return true;
  if (a.is_sequence()) {
    const auto& left = a.sequence().items;
    const auto& right = b.sequence().items;
    if (left.size() != right.size()) return false;
    for (size_t i = 0; i < left.size(); ++i) {
      // Python finds an object equal to itself in a list, even NaN; with values there is no
      // telling.
      if (!equal(left[i], right[i], meter)) return false;
    }
    return true;
  }
  return a.is(Kind::kDict) && equal_dicts(a.dict(), b.dict(), meter);
}

size_t hash_of(const Value& v, Meter& meter) {
  meter.step();
  switch (v.kind()) {
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<int64_t>()(v.as_int()) * 0x9E3779B97F4A7C15u >> 7;
    case Kind::kFloat: {
      int64_t exact;
      if (as_exact_integer(v.as_float(), exact)) return hash_of(Value(exact), meter);
      return std::hash<double>()(v.as_float());
    }
    case Kind::kString:
      meter.step_text(v.text().size());
      return std::hash<std::string_view>()(v.text());
    case Kind::kTuple: {
      size_t hash = 0x345678;
      for (const Value& item : v.sequence().items) hash = hash * 1000003 ^ hash_of(item, meter);
      return hash;
    }
    case Kind::kList:
    case Kind::kDict:
      raise("unhashable type: '{}'", type_name(v));
    case Kind::kObject:
      return std::hash<const void*>()(&v.native());
    default:
      return static_cast<size_t>(v.kind());
  }
}

}  // namespace dsv3::jinja
