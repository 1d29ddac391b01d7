#include "text/jinja/runtime.h"

#include <algorithm>

#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

std::string object_name(const Value& v) { return v.is_none() ? "None" : type_name(v) + " object"; }

Value no_item(Runtime& runtime, const Value& object, const Value& key) {
  if (key.is_string()) {
    const std::string_view name =
        std::string_view(key.text()).substr(0, byte_offset(key.text(), 100));
    return runtime.undefined(
        fmt::format("'{}' has no attribute {}", object_name(object), repr_string(name)));
  }
  return runtime.undefined(fmt::format("{} has no element {}", object_name(object),
                                       key.is_number() ? repr(runtime, key) : type_name(key)));
}

bool normalize_index(int64_t index, size_t length, size_t& out) {
  const auto n = static_cast<int64_t>(length);
  if (index < -n || index >= n) return false;
  out = static_cast<size_t>(index < 0 ? index + n : index);
  return true;
}

// object[key] without the fallback to attributes; missing where there is no such item.
Value plain_item(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is(Kind::kDict)) {
    if (key.is_string()) {
      const Value* found = object.dict().find(key.text());
      return found ? *found : Value();
    }
    if (key.is(Kind::kList) || key.is(Kind::kDict)) return Value();
    const Value* found = object.dict().find(key, runtime.meter);
    return found ? *found : Value();
  }
  if (!key.is_integer()) return Value();
  size_t i = 0;
  if (object.is_sequence()) {
    const auto& items = object.sequence().items;
    return normalize_index(key.as_int(), items.size(), i) ? items[i] : Value();
  }
  if (object.is_string()) {
    const String& s = object.string();
    if (!normalize_index(key.as_int(), s.length, i)) return Value();
    if (s.ascii()) return runtime.string(s.text.substr(i, 1), s.markup);
    runtime.meter.step_text(s.text.size());
    const size_t at = byte_offset(s.text, i);
    return runtime.string(s.text.substr(at, utf8_length(static_cast<uint8_t>(s.text[at]))),
                          s.markup);
  }
  Value out;
  if (object.is(Kind::kObject)) object.native().item(runtime, key.as_int(), out);
  return out;
}

Value plain_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  Value out;
  if (object.is(Kind::kObject)) {
    object.native().attribute(runtime, name, out);
    return out;
  }
  if (object.is_sequence() && object.sequence().group) {
    if (name == "grouper") return object.sequence().items[0];
    if (name == "list") return object.sequence().items[1];
  }
  return find_method(runtime, object, name);
}

// Positions of a slice as Python counts them.
struct SliceRange {
  int64_t start, stop, step, count;
};

SliceRange slice_range(const Value& start, const Value& stop, const Value& step, size_t length) {
  const auto part = [](const Value& v, int64_t absent) {
    if (v.is_missing() || v.is_none()) return absent;
    if (!v.is_integer()) raise("slice indices must be integers or None");
    return v.as_int();
  };
  const auto n = static_cast<int64_t>(length);
  const int64_t by = std::max(part(step, 1), -INT64_MAX);
  if (by == 0) raise("slice step cannot be zero");
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1;
  const auto place = [&](const Value& v, int64_t absent) {
    if (v.is_missing() || v.is_none()) return absent;
    int64_t i = part(v, 0);
    if (i < 0) i = i < -n ? low : i + n;
    return std::clamp(i, low, high);
  };
  const int64_t from = place(start, by > 0 ? low : high);
  const int64_t to = place(stop, by > 0 ? high : low);
  const int64_t distance = by > 0 ? to - from : from - to;
  const int64_t size = by > 0 ? by : -by;
  return {from, to, by, distance <= 0 ? 0 : (distance - 1) / size + 1};
}

Value slice_string(Runtime& runtime, const String& s, const SliceRange& range) {
  runtime.meter.step_text(s.text.size());
  std::string out;
  if (range.step == 1) {
    const size_t start = s.ascii() ? static_cast<size_t>(range.start)
                                   : byte_offset(s.text, static_cast<size_t>(range.start));
    const size_t size = s.ascii() ? static_cast<size_t>(range.count)
                                  : byte_offset(std::string_view(s.text).substr(start),
                                                static_cast<size_t>(range.count));
    out = s.text.substr(start, size);
  } else {
    runtime.meter.step(s.length);
    std::vector<size_t> starts;
    size_t position = 0;
    for (const std::string_view c : Characters(s.text)) {
      starts.push_back(position);
      position += c.size();
    }
    starts.push_back(position);
    for (int64_t i = 0, at = range.start; i < range.count; ++i, at += range.step) {
      const size_t start = starts[static_cast<size_t>(at)];
      out += s.text.substr(start, starts[static_cast<size_t>(at) + 1] - start);
    }
  }
  return runtime.string(std::move(out), s.markup);
}

}  // namespace

Value Runtime::strings(const std::vector<std::string_view>& parts, bool markup) {
  meter.check_items(parts.size());
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(string(part, markup));
  return list(std::move(items));
}

std::tm Runtime::local_time() const {
  if (now_) return *now_;
  const std::time_t t = std::time(nullptr);
  std::tm local{};
  localtime_r(&t, &local);
  return local;
}

Items::Items(Runtime& runtime, const Value& v) : holder_(v) {
  switch (v.kind()) {
    case Kind::kUndefined:
      return;
    case Kind::kList:
    case Kind::kTuple:
      data_ = v.sequence().items.data();
      size_ = v.sequence().items.size();
      return;
    case Kind::kString:
      runtime.meter.check_items(v.string().length);
      for (const std::string_view c : Characters(v.text())) own_.push_back(runtime.string(c));
      break;
    case Kind::kDict:
      runtime.meter.check_items(v.dict().items.size());
      for (const auto& item : v.dict().items) own_.push_back(item.first);
      break;
    case Kind::kObject:
      if (v.native().items(runtime, own_)) break;
      [[fallthrough]];
    default:
      raise("'{}' object is not iterable", type_name(v));
  }
  data_ = own_.data();
  size_ = own_.size();
}

bool is_iterable(const Value& v) {
  if (v.is(Kind::kObject)) return v.native().iterable();
  return v.is_undefined() || v.is_string() || v.is_sequence() || v.is(Kind::kDict);
}

int64_t length_of(const Value& v) {
  switch (v.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return static_cast<int64_t>(v.string().length);
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<int64_t>(v.sequence().items.size());
    case Kind::kDict:
      return static_cast<int64_t>(v.dict().items.size());
    case Kind::kObject:
      return v.native().length();
    default:
      return -1;
  }
}

Value get_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  // Python's own names are no attributes of undefined values, rather than errors.
  const bool internal = name.size() > 4 && name.starts_with("__") && name.ends_with("__");
  if (object.is_undefined() && internal) return object;
  require_defined(object);
  Value found = plain_attribute(runtime, object, name);
  if (!found.is_missing()) return found;
  if (object.is(Kind::kDict)) {
    if (const Value* item = object.dict().find(name)) return *item;
  }
  return no_item(runtime, object, runtime.string(name));
}

Value get_item(Runtime& runtime, const Value& object, const Value& key) {
  require_defined(object);
  Value found = plain_item(runtime, object, key);
  if (found.is_missing() && key.is_string()) found = plain_attribute(runtime, object, key.text());
  return found.is_missing() ? no_item(runtime, object, key) : found;
}

Value get_slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop,
                const Value& step) {
  require_defined(object);
  if (object.is_string()) {
    const String& s = object.string();
    return slice_string(runtime, s, slice_range(start, stop, step, s.length));
  }
  // Unlike an index, a slice that is not possible is an error in Jinja.
  const bool native = object.is(Kind::kObject);
  const int64_t length = object.is_sequence() || native ? length_of(object) : -1;
  if (length < 0) raise("'{}' object cannot be sliced", type_name(object));
  const SliceRange range = slice_range(start, stop, step, static_cast<size_t>(length));
  if (native) {
    Value out;
    if (object.native().slice(runtime, range.start, range.stop, range.step, out)) return out;
    raise("'{}' object cannot be sliced", type_name(object));
  }
  runtime.meter.check_items(static_cast<size_t>(range.count));
  std::vector<Value> out;
  out.reserve(static_cast<size_t>(range.count));
  for (int64_t i = 0, at = range.start; i < range.count; ++i, at += range.step) {
    out.push_back(object.sequence().items[static_cast<size_t>(at)]);
  }
  return object.is(Kind::kTuple) ? runtime.tuple(std::move(out)) : runtime.list(std::move(out));
}

Value call_value(Runtime& runtime, const Value& callee, Arguments& arguments) {
  require_defined(callee);
  if (!callee.is(Kind::kObject)) raise("'{}' object is not callable", type_name(callee));
  return callee.native().call(runtime, arguments);
}

std::vector<Value> bind_arguments(std::string_view function, Arguments& arguments,
                                  std::initializer_list<std::string_view> names, size_t required) {
  std::vector<Value> out(names.size());
  if (arguments.positional.size() > names.size()) {
    raise("{}() takes at most {} arguments ({} given)", function, names.size(),
          arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) out[i] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) raise("{}() got an unexpected keyword argument '{}'", function, name);
    Value& slot = out[static_cast<size_t>(at - names.begin())];
    if (!slot.is_missing()) raise("{}() got multiple values for argument '{}'", function, name);
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (out[i].is_missing()) {
      raise("{}() missing required argument '{}'", function, names.begin()[i]);
    }
  }
  return out;
}

int64_t require_integer(const Value& v, std::string_view what) {
  require_defined(v);
  if (!v.is_integer()) raise("{} must be an integer, not {}", what, type_name(v));
  return v.as_int();
}

const std::string& require_string(const Value& v, std::string_view what) {
  require_defined(v);
  if (!v.is_string()) raise("{} must be str, not {}", what, type_name(v));
  return v.text();
}

void require_defined(const Value& v) {
  if (v.is_undefined()) throw Failure{v.undefined().message};
}

}  // namespace dsv3::jinja
