// The tests of templates: what stands after `is`.

#include <unordered_map>

#include "text/jinja/functions.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/text.h"

namespace dsv3::jinja {
namespace {

template <bool (*is)(const Value&)>
bool plain(Runtime&, const Value& v, Arguments& arguments) {
  bind_arguments("test", arguments, {});
  return is(v);
}

Value only_argument(Arguments& arguments) {
  return bind_arguments("test", arguments, {"other"}, 1)[0];
}

bool remainder_is(Runtime& runtime, const Value& v, const Value& divisor, int64_t wanted) {
  return equal(binary_operation(runtime, Operator::kModulo, v, divisor), Value(wanted),
               runtime.meter);
}

bool odd(Runtime& runtime, const Value& v, Arguments& arguments) {
  bind_arguments("odd", arguments, {});
  return remainder_is(runtime, v, Value(int64_t{2}), 1);
}
bool even(Runtime& runtime, const Value& v, Arguments& arguments) {
  bind_arguments("even", arguments, {});
  return remainder_is(runtime, v, Value(int64_t{2}), 0);
}
bool divisible_by(Runtime& runtime, const Value& v, Arguments& arguments) {
  return remainder_is(runtime, v, bind_arguments("divisibleby", arguments, {"num"}, 1)[0], 0);
}

bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_boolean(const Value& v) { return v.is(Kind::kBool); }
bool is_true(const Value& v) { return v.is(Kind::kBool) && v.as_bool(); }
bool is_false(const Value& v) { return v.is(Kind::kBool) && !v.as_bool(); }
bool is_integer(const Value& v) { return v.is(Kind::kInt); }
bool is_float(const Value& v) { return v.is(Kind::kFloat); }
bool is_number(const Value& v) { return v.is_number(); }
bool is_string(const Value& v) { return v.is_string(); }
bool is_mapping(const Value& v) { return v.is(Kind::kDict); }
bool is_sequence(const Value& v) {
  return v.is_string() || v.is_sequence() || v.is(Kind::kDict) || v.is_undefined() ||
         v.native_as<Range>() != nullptr;
}
bool is_callable(const Value& v) {
  return v.is_undefined() || (v.is(Kind::kObject) && v.native().callable());
}
bool is_escaped(const Value& v) { return v.is_string() && v.string().markup; }

// Python looks the value up in a dictionary.
bool is_filter(Runtime& runtime, const Value& v, Arguments& arguments) {
  bind_arguments("filter", arguments, {});
  hash_of(v, runtime.meter);
  return v.is_string() && find_filter(v.text());
}
bool is_test(Runtime& runtime, const Value& v, Arguments& arguments) {
  bind_arguments("test", arguments, {});
  hash_of(v, runtime.meter);
  return v.is_string() && find_test(v.text());
}

template <bool lower_case>
bool cased(Runtime& runtime, const Value& v, Arguments& arguments) {
  bind_arguments("test", arguments, {});
  const Value text = runtime.string(to_text(runtime, v));
  Arguments none;
  return truth(
      find_method(runtime, text, lower_case ? "islower" : "isupper").native().call(runtime, none));
}

bool same_as(Runtime&, const Value& v, Arguments& arguments) {
  const Value other = only_argument(arguments);
  // Python makes one object of equal constants.
  if (v.is_string() && other.is_string()) return v.text() == other.text();
  return v.same_object(other);
}

template <Operator op>
bool compared(Runtime& runtime, const Value& v, Arguments& arguments) {
  return compare(runtime, op, v, only_argument(arguments));
}

}  // namespace

TestFunction find_test(std::string_view name) {
  static const std::unordered_map<std::string_view, TestFunction> tests = {
      {"odd", odd},
      {"even", even},
      {"divisibleby", divisible_by},
      {"defined", plain<is_defined>},
      {"undefined", plain<is_undefined>},
      {"filter", is_filter},
      {"test", is_test},
      {"none", plain<is_none>},
      {"boolean", plain<is_boolean>},
      {"false", plain<is_false>},
      {"true", plain<is_true>},
      {"integer", plain<is_integer>},
      {"float", plain<is_float>},
      {"lower", cased<true>},
      {"upper", cased<false>},
      {"string", plain<is_string>},
      {"mapping", plain<is_mapping>},
      {"number", plain<is_number>},
      {"sequence", plain<is_sequence>},
      {"iterable", plain<is_iterable>},
      {"callable", plain<is_callable>},
      {"sameas", same_as},
      {"escaped", plain<is_escaped>},
      {"in", compared<Operator::kIn>},
      {"==", compared<Operator::kEqual>},
      {"eq", compared<Operator::kEqual>},
      {"equalto", compared<Operator::kEqual>},
      {"!=", compared<Operator::kNotEqual>},
      {"ne", compared<Operator::kNotEqual>},
      {">", compared<Operator::kGreater>},
      {"gt", compared<Operator::kGreater>},
      {"greaterthan", compared<Operator::kGreater>},
      {">=", compared<Operator::kGreaterEqual>},
      {"ge", compared<Operator::kGreaterEqual>},
      {"<", compared<Operator::kLess>},
      {"lt", compared<Operator::kLess>},
      {"lessthan", compared<Operator::kLess>},
      {"<=", compared<Operator::kLessEqual>},
      {"le", compared<Operator::kLessEqual>}};
  const auto found = tests.find(name);
  return found == tests.end() ? nullptr : found->second;
}

}  // namespace dsv3::jinja
