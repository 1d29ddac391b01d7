#include "text/jinja/macro.h"

#include <algorithm>

namespace dsv3::jinja {
namespace {

// Takes a named argument out; missing where it is not given.
Value take(std::vector<std::pair<std::string, Value>>& named, std::string_view name) {
  const auto at = std::find_if(named.begin(), named.end(),
                               [&](const auto& argument) { return argument.first == name; });
  if (at == named.end()) return Value();
  Value v = std::move(at->second);
  named.erase(at);
  return v;
}

}  // namespace

Macro::Macro(Interpreter& interpreter, const MacroBody& body, Frame& closure)
    : NativeObject(&interpreter.meter, sizeof(*this)),
      interpreter_(interpreter),
      body_(body),
      closure_(&closure) {
  interpreter.capture(closure);
}

std::string Macro::repr(Runtime&) const {
  return body_.name.empty() ? "<Macro anonymous>" : fmt::format("<Macro '{}'>", body_.name);
}

bool Macro::attribute(Runtime& runtime, std::string_view name, Value& out) {
  if (name == "name") {
    out = body_.name.empty() ? Value::none() : runtime.string(body_.name);
  } else if (name == "arguments") {
    std::vector<Value> names;
    for (const auto& p : body_.parameters) names.push_back(runtime.string(p->name));
    out = runtime.tuple(std::move(names));
  } else if (name == "caller") {
    out = Value(body_.caller_slot >= 0);
  } else if (name == "catch_kwargs") {
    out = Value(body_.kwargs_slot >= 0);
  } else if (name == "catch_varargs") {
    out = Value(body_.varargs_slot >= 0);
  } else {
    return false;
  }
  return true;
}

Value Macro::call(Runtime& runtime, Arguments& arguments) {
  const Interpreter::CallDepth depth(interpreter_);
  const Ref<Frame> frame = interpreter_.enter(closure_.get(), body_.frame);
  bind(arguments, *frame);
  return runtime.string(
      interpreter_.captured_output([&] { interpreter_.execute(body_.body, *frame); }));
}

// Gives the parameters, and the special variables that the body uses, their values.
void Macro::bind(Arguments& arguments, Frame& frame) {
  const auto slot = [&](int i) -> Value& { return frame.slots[static_cast<size_t>(i)]; };
  auto& [positional, named] = arguments;
  const auto& parameters = body_.parameters;
  const size_t given = std::min(positional.size(), parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    slot(parameters[i]->variable.slot) =
        i < given ? positional[i] : take(named, parameters[i]->name);
  }
  if (body_.caller_slot >= 0) {
    Value caller = take(named, "caller");
    slot(body_.caller_slot) =
        caller.is_missing() ? interpreter_.undefined("No caller defined") : caller;
  }
  if (body_.kwargs_slot >= 0) {
    Ref<Dict> rest(new Dict(&interpreter_.meter));
    for (const auto& [name, value] : named)
      rest->set(interpreter_.string(name), value, interpreter_.meter);
    slot(body_.kwargs_slot) = Value(Kind::kDict, rest.get());
  } else if (!named.empty()) {
    raise("macro '{}' takes no keyword argument '{}'", body_.name, named[0].first);
  }
  if (body_.varargs_slot >= 0) {
    slot(body_.varargs_slot) =
        interpreter_.tuple({positional.begin() + static_cast<ptrdiff_t>(given), positional.end()});
  } else if (positional.size() > parameters.size()) {
    raise("macro '{}' takes not more than {} argument(s)", body_.name, parameters.size());
  }
  // Last: defaults may use the parameters before them.
  const size_t without_default = parameters.size() - body_.defaults.size();
  for (size_t i = 0; i < parameters.size(); ++i) {
    Value& parameter = slot(parameters[i]->variable.slot);
    if (!parameter.is_missing()) continue;
    parameter = i < without_default
                    ? interpreter_.undefined(
                          fmt::format("parameter '{}' was not provided", parameters[i]->name))
                    : interpreter_.evaluate(*body_.defaults[i - without_default], frame);
  }
}

}  // namespace dsv3::jinja
