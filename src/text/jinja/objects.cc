#include "text/jinja/objects.h"

namespace dsv3::jinja {

std::string Namespace::repr(Runtime& runtime) const {
  // It may hold itself.
  if (printing_) return "<Namespace {...}>";
  printing_ = true;
  std::string out =
      fmt::format("<Namespace {}>", jinja::repr(runtime, Value(Kind::kDict, values_.get())));
  printing_ = false;  // an error ends the rendering anyway
  return out;
}

bool Namespace::attribute(Runtime&, std::string_view name, Value& out) {
  const Value* found = values_->find(name);
  if (found) out = *found;
  return found != nullptr;
}

std::string Range::repr(Runtime&) const {
  return step_ == 1 ? fmt::format("range({}, {})", start_, stop_)
                    : fmt::format("range({}, {}, {})", start_, stop_, step_);
}

bool Range::attribute(Runtime& runtime, std::string_view name, Value& out) {
  const Value self(Kind::kObject, this);
  if (name == "start")
    out = Value(start_);
  else if (name == "stop")
    out = Value(stop_);
  else if (name == "step")
    out = Value(step_);
  else if (name == "index")
    out = make_object<Function>(&runtime.meter, "index", &Range::index, self);
  else if (name == "count")
    out = make_object<Function>(&runtime.meter, "count", &Range::count, self);
  else
    return false;
  return true;
}

int64_t Range::position(Runtime& runtime, const Value& v) {
  for (int64_t i = 0; i < length_; ++i) {
    if (equal(Value(start_ + i * step_), v, runtime.meter)) return i;
  }
  return -1;
}

Value Range::index(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("index", arguments, {"value"}, 1);
  const int64_t at = static_cast<Range&>(self.native()).position(runtime, args[0]);
  if (at < 0) raise("{} is not in range", jinja::repr(runtime, args[0]));
  return Value(at);
}

Value Range::count(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("count", arguments, {"value"}, 1);
  const int64_t at = static_cast<Range&>(self.native()).position(runtime, args[0]);
  return Value(int64_t{at >= 0});
}

bool Range::items(Runtime& runtime, std::vector<Value>& out) {
  runtime.meter.check_items(static_cast<size_t>(length_));
  out.reserve(static_cast<size_t>(length_));
  for (int64_t i = 0; i < length_; ++i) out.emplace_back(start_ + i * step_);
  return true;
}

bool Range::item(Runtime&, int64_t index, Value& out) const {
  if (index < 0) index += length_;
  if (index < 0 || index >= length_) return false;
  out = Value(start_ + index * step_);
  return true;
}

bool Range::slice(Runtime& runtime, int64_t start, int64_t stop, int64_t step, Value& out) const {
  int64_t from = 0, to = 0, by = 0;
  if (__builtin_mul_overflow(start, step_, &from) || __builtin_add_overflow(from, start_, &from) ||
      __builtin_mul_overflow(stop, step_, &to) || __builtin_add_overflow(to, start_, &to) ||
      __builtin_mul_overflow(step, step_, &by)) {
    raise("integer does not fit 64 bits");
  }
  const int64_t distance = step > 0 ? stop - start : start - stop, size = step > 0 ? step : -step;
  const int64_t length = distance <= 0 ? 0 : (distance - 1) / size + 1;
  out = make_object<Range>(runtime.meter, from, to, by, length);
  return true;
}

std::vector<Value> DictView::list(Runtime& runtime) const {
  const auto& entries = dict_.dict().items;
  runtime.meter.check_items(entries.size());
  std::vector<Value> out;
  out.reserve(entries.size());
  for (const auto& [key, value] : entries) {
    if (part_ == kItems)
      out.push_back(runtime.tuple({key, value}));
    else
      out.push_back(part_ == kKeys ? key : value);
  }
  return out;
}

bool DictView::items(Runtime& runtime, std::vector<Value>& out) {
  out = list(runtime);
  return true;
}

std::string Function::repr(Runtime& runtime) const {
  if (self_.is_missing()) return fmt::format("<built-in function {}>", name_);
  if (!self_.is_string() || !self_.string().markup) {
    return fmt::format("<built-in method {} of {} object>", name_, jinja::type_name(self_));
  }
  return fmt::format("<bound method Markup.{} of {}>", name_, jinja::repr(runtime, self_));
}

std::string DictView::repr(Runtime& runtime) const {
  return fmt::format("{}({})", type_name(), jinja::repr(runtime, runtime.list(list(runtime))));
}

}  // namespace dsv3::jinja
