#include "text/jinja/operators.h"

#include <cmath>

#include "text/jinja/text.h"

namespace dsv3::jinja {
namespace {

std::string_view symbol(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    case Operator::kPower:
      return "** or pow()";
    case Operator::kLess:
      return "<";
    case Operator::kLessEqual:
      return "<=";
    case Operator::kGreater:
      return ">";
    case Operator::kGreaterEqual:
      return ">=";
    default:
      return "?";
  }
}

[[noreturn]] void overflow() { raise("integer does not fit 64 bits"); }

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (true) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) {
      if (result == 0) return 0;
      overflow();
    }
  }
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) raise("division by zero");
  if (b == -1) {
    if (__builtin_sub_overflow(int64_t{0}, a, &a)) overflow();
    return a;
  }
  const int64_t q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t floor_modulo(int64_t a, int64_t b) {
  if (b == 0) raise("integer modulo by zero");
  if (b == -1) return 0;
  const int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

double floor_modulo(double a, double b) {
  if (b == 0) raise("float modulo by zero");
  double r = std::fmod(a, b);
  if (r == 0) return std::copysign(0.0, b);
  if ((r < 0) != (b < 0)) r += b;
  return r;
}

double floor_divide(double a, double b) {
  if (b == 0) raise("float floor division by zero");
  double r = std::fmod(a, b);
  double q = (a - r) / b;
  if (r != 0 && (r < 0) != (b < 0)) q -= 1;
  if (q == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(q);
  return q - floor > 0.5 ? floor + 1 : floor;
}

Value integer_operation(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) overflow();
      return Value(result);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) overflow();
      return Value(result);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) overflow();
      return Value(result);
    case Operator::kDivide:
      if (b == 0) raise("division by zero");
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDivide:
      return Value(floor_divide(a, b));
    case Operator::kModulo:
      return Value(floor_modulo(a, b));
    default:
      break;  // kPower
  }
  if (b >= 0) return Value(integer_power(a, b));
  if (a == 0) raise("zero to a negative power");
  return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
}

Value float_operation(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value(a + b);
    case Operator::kSubtract:
      return Value(a - b);
    case Operator::kMultiply:
      return Value(a * b);
    case Operator::kDivide:
      if (b == 0) raise("division by zero");
      return Value(a / b);
    case Operator::kFloorDivide:
      return Value(floor_divide(a, b));
    case Operator::kModulo:
      return Value(floor_modulo(a, b));
    default:
      break;  // kPower
  }
  if (a == 0 && b < 0) raise("zero to a negative power");
  if (a < 0 && std::isfinite(b) && b != std::trunc(b)) raise("complex numbers are not supported");
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
    raise("result of ** is too large");
  return Value(result);
}

Value add_strings(Runtime& runtime, const String& a, const String& b) {
  const bool markup = a.markup || b.markup;
  runtime.meter.check_string(a.text.size() + b.text.size());
  std::string out;
  out.reserve(a.text.size() + b.text.size());
  out += markup && !a.markup ? escape_html(a.text) : a.text;
  out += markup && !b.markup ? escape_html(b.text) : b.text;
  return runtime.string(std::move(out), markup);
}

Value add_sequences(Runtime& runtime, const Value& a, const Value& b) {
  const auto& left = a.sequence().items;
  const auto& right = b.sequence().items;
  runtime.meter.check_items(left.size() + right.size());
  std::vector<Value> items;
  items.reserve(left.size() + right.size());
  items.insert(items.end(), left.begin(), left.end());
  items.insert(items.end(), right.begin(), right.end());
  return a.is(Kind::kList) ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
}

Value repeat(Runtime& runtime, const Value& v, int64_t times) {
  const size_t n = times > 0 ? static_cast<size_t>(times) : 0;
  size_t total = 0;
  if (v.is_string()) {
    const String& s = v.string();
    if (__builtin_mul_overflow(s.text.size(), n, &total)) total = SIZE_MAX;
    runtime.meter.check_string(total);
    runtime.meter.step(n);
    std::string out;
    out.reserve(total);
    for (size_t i = 0; i < n && total > 0; ++i) out += s.text;
    return runtime.string(std::move(out), s.markup);
  }
  const auto& items = v.sequence().items;
  if (__builtin_mul_overflow(items.size(), n, &total)) total = SIZE_MAX;
  runtime.meter.check_items(total);
  std::vector<Value> out;
  out.reserve(total);
  for (size_t i = 0; i < n && total > 0; ++i) out.insert(out.end(), items.begin(), items.end());
  return v.is(Kind::kList) ? runtime.list(std::move(out)) : runtime.tuple(std::move(out));
}

template <typename Order>
bool compare_sequences(Runtime& runtime, const Value& a, const Value& b, Order order) {
  const auto& left = a.sequence().items;
  const auto& right = b.sequence().items;
  for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
    if (!equal(left[i], right[i], runtime.meter)) return order(left[i], right[i]);
  }
  return order(Value(static_cast<int64_t>(left.size())), Value(static_cast<int64_t>(right.size())));
}

bool ordered(Runtime& runtime, Operator op, const Value& a, const Value& b) {
  runtime.meter.step();
  require_defined(a);
  require_defined(b);
  const auto by = [op](const auto& x, const auto& y) {
    switch (op) {
      case Operator::kLess:
        return x < y;
      case Operator::kLessEqual:
        return x <= y;
      case Operator::kGreater:
        return x > y;
      default:
        return x >= y;
    }
  };
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return by(a.as_int(), b.as_int());
    return by(a.as_float(), b.as_float());
  }
  if (a.is_string() && b.is_string()) {
    runtime.meter.step_text(std::min(a.text().size(), b.text().size()));
    return by(a.text(), b.text());  // the order of UTF-8 is the order of code points
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    return compare_sequences(
        runtime, a, b, [&](const Value& x, const Value& y) { return ordered(runtime, op, x, y); });
  }
  raise("'{}' not supported between instances of '{}' and '{}'", symbol(op), type_name(a),
        type_name(b));
}

}  // namespace

Value binary_operation(Runtime& runtime, Operator op, const Value& a, const Value& b) {
  require_defined(a);
  if (op == Operator::kModulo && a.is_string()) return format_percent(runtime, a, b);
  require_defined(b);
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return integer_operation(op, a.as_int(), b.as_int());
    return float_operation(op, a.as_float(), b.as_float());
  }
  if (op == Operator::kAdd) {
    if (a.is_string() && b.is_string()) return add_strings(runtime, a.string(), b.string());
    if (a.is_sequence() && a.kind() == b.kind()) return add_sequences(runtime, a, b);
    if (a.is_string() || a.is_sequence()) {
      raise("can only concatenate {0} (not \"{1}\") to {0}", type_name(a), type_name(b));
    }
  }
  if (op == Operator::kMultiply) {
    if ((a.is_string() || a.is_sequence()) && b.is_integer()) return repeat(runtime, a, b.as_int());
    if ((b.is_string() || b.is_sequence()) && a.is_integer()) return repeat(runtime, b, a.as_int());
  }
  raise("unsupported operand type(s) for {}: '{}' and '{}'", symbol(op), type_name(a),
        type_name(b));
}

Value unary_operation(Runtime&, Operator op, const Value& v) {
  if (op == Operator::kNot) return Value(!truth(v));
  require_defined(v);
  const bool negative = op == Operator::kNegative;
  if (v.is(Kind::kFloat)) return Value(negative ? -v.as_float() : v.as_float());
  if (!v.is_integer())
    raise("bad operand type for unary {}: '{}'", negative ? "-" : "+", type_name(v));
  return negative ? integer_operation(Operator::kSubtract, 0, v.as_int()) : Value(v.as_int());
}

bool compare(Runtime& runtime, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return equal(a, b, runtime.meter);
    case Operator::kNotEqual:
      return !equal(a, b, runtime.meter);
    case Operator::kIn:
      return contains(runtime, b, a);
    case Operator::kNotIn:
      return !contains(runtime, b, a);
    default:
      return ordered(runtime, op, a, b);
  }
}

bool less(Runtime& runtime, const Value& a, const Value& b) {
  return ordered(runtime, Operator::kLess, a, b);
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      raise("'in <string>' requires string as left operand, not {}", type_name(item));
    }
    runtime.meter.step_text(container.text().size());
    return find(container.text(), item.text()) != kNotFound;
  }
  if (container.is(Kind::kDict)) return container.dict().find(item, runtime.meter) != nullptr;
  if (!is_iterable(container)) raise("argument of type '{}' is not iterable", type_name(container));
  for (const Value& v : Items(runtime, container)) {
    if (equal(v, item, runtime.meter)) return true;
  }
  return false;
}

}  // namespace dsv3::jinja
