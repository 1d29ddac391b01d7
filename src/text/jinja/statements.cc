// The statements of a rendering.

#include <algorithm>

#include "text/jinja/execution.h"
#include "text/jinja/loop.h"
#include "text/jinja/macro.h"
#include "text/jinja/objects.h"

namespace dsv3::jinja {

Flow Interpreter::execute(const Body& body, Frame& frame) {
  for (const StatementPtr& s : body) {
    const Flow flow = execute(*s, frame);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Flow Interpreter::execute(const Statement& s, Frame& frame) {
  meter.step();
  if (s.kind == StatementKind::kText) {
    write(static_cast<const TextStatement&>(s).text);
    return Flow::kNormal;
  }
  const Depth depth(*this);
  switch (s.kind) {
    case StatementKind::kPrint:
      print(static_cast<const PrintStatement&>(s), frame);
      break;
    case StatementKind::kIf:
      return choose(static_cast<const IfStatement&>(s), frame);
    case StatementKind::kFor:
      return loop(static_cast<const ForStatement&>(s), frame);
    case StatementKind::kSet: {
      const auto& node = static_cast<const SetStatement&>(s);
      assign(*node.target, evaluate(*node.value, frame), frame, node.exports);
      break;
    }
    case StatementKind::kSetBlock:
      return set_block(static_cast<const SetBlockStatement&>(s), frame);
    case StatementKind::kMacro: {
      const auto& node = static_cast<const MacroStatement&>(s);
      assign(*node.target, make_object<Macro>(*this, node.macro, frame), frame, node.exports);
      break;
    }
    case StatementKind::kCallBlock:
      call_block(static_cast<const CallBlockStatement&>(s), frame);
      break;
    case StatementKind::kFilterBlock:
      return filter_block(static_cast<const FilterBlockStatement&>(s), frame);
    case StatementKind::kWith:
      return with(static_cast<const WithStatement&>(s), frame);
    case StatementKind::kScope:
      return scope(static_cast<const ScopeStatement&>(s), frame);
    case StatementKind::kBlock: {
      const auto& node = static_cast<const BlockStatement&>(s);
      offset_ = s.offset;
      if (node.required) raise("Required block '{}' not found", node.name);
      execute(node.body, *enter(node.scoped ? &frame : nullptr, node.frame));
      break;
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
    case StatementKind::kLoad:
      evaluate(*static_cast<const LoadStatement&>(s).source, frame);
      offset_ = s.offset;
      raise("include, import and extends are not possible: a chat template stands alone");
    case StatementKind::kText:
      break;
  }
  return Flow::kNormal;
}

void Interpreter::assign(const Expr& target, const Value& value, Frame& frame, bool exports) {
  if (target.kind == ExprKind::kName) {
    const auto& name = static_cast<const NameExpr&>(target);
    frame[name.variable] = value;
    if (exports) variables_[name.name] = value;
  } else if (target.kind == ExprKind::kNamespaceRef) {
    const auto& ref = static_cast<const NamespaceRefExpr&>(target);
    offset_ = target.offset;
    const Value& object = frame[ref.variable];
    require_defined(object);
    auto* ns = object.native_as<Namespace>();
    if (!ns) raise("cannot assign attribute on non-namespace object");
    ns->set(ref.attribute, value);
  } else {
    const auto& parts = static_cast<const ItemsExpr&>(target).items;
    offset_ = target.offset;
    const Items values(*this, value);
    if (values.size() != parts.size()) {
      raise("cannot unpack {} values into {} names", values.size(), parts.size());
    }
    for (size_t i = 0; i < parts.size(); ++i) assign(*parts[i], values[i], frame, exports);
  }
}

void Interpreter::print(const PrintStatement& s, Frame& frame) {
  for (const ExprPtr& e : s.values) {
    const Value v = evaluate(*e, frame);
    offset_ = e->offset;
    if (v.is_string())
      write(v.text());
    else
      write(to_text(*this, v));
  }
}

Flow Interpreter::choose(const IfStatement& s, Frame& frame) {
  for (const auto& branch : s.branches) {
    if (truth(evaluate(*branch.test, frame))) return execute(branch.body, frame);
  }
  return execute(s.otherwise, frame);
}

Flow Interpreter::loop(const ForStatement& s, Frame& frame) {
  const Value iterable = evaluate(*s.iterable, frame);
  offset_ = s.iterable->offset;
  return run_loop(s, iterable, frame, 0);
}

Flow Interpreter::run_loop(const ForStatement& node, const Value& iterable, Frame& frame,
                           int64_t depth0) {
  const Value value = make_object<Loop>(*this, node, frame, iterable, depth0);
  auto& loop = static_cast<Loop&>(value.native());
  Ref<Frame> inner(new Frame(meter, &frame, node.frame));
  bool completed = false;
  while (loop.advance()) {
    meter.step();
    load(*inner, node.frame);
    inner->slots[static_cast<size_t>(node.loop_slot)] = value;
    assign(*node.target, loop.current(), *inner, false);
    const Flow flow = execute(node.body, *inner);
    if (flow == Flow::kBreak) break;
    if (flow == Flow::kNormal) completed = true;
  }
  loop.finish();
  std::fill(inner->slots.begin(), inner->slots.end(), Value());
  // As in Jinja, `else` also runs where each iteration ended in break or continue.
  if (completed || node.otherwise.empty()) return Flow::kNormal;
  return execute(node.otherwise, *enter(&frame, node.else_frame));
}

Value Interpreter::recurse(const ForStatement& node, const Value& iterable, Frame& frame,
                           int64_t depth0) {
  const CallDepth depth(*this);
  return string(captured_output([&] { run_loop(node, iterable, frame, depth0); }));
}

bool Interpreter::passes(const ForStatement& node, const Value& item, Frame& frame) {
  const Ref<Frame> inner = enter(&frame, node.test_frame);
  assign(*node.test_target, item, *inner, false);
  return truth(evaluate(*node.test, *inner));
}

Flow Interpreter::set_block(const SetBlockStatement& s, Frame& frame) {
  const Ref<Frame> inner = enter(&frame, s.frame);
  Flow flow = Flow::kNormal;
  std::string text = captured_output([&] { flow = execute(s.body, *inner); });
  if (flow != Flow::kNormal) return flow;
  Value value = string(std::move(text));
  if (s.filter) value = filter(static_cast<const FilterExpr&>(*s.filter), *inner, &value);
  assign(*s.target, value, frame, s.exports);
  return flow;
}

void Interpreter::call_block(const CallBlockStatement& s, Frame& frame) {
  const Value caller = make_object<Macro>(*this, s.caller, frame);
  const Value result = call(*s.call, frame, &caller);
  write_text(result);
}

Flow Interpreter::filter_block(const FilterBlockStatement& s, Frame& frame) {
  const Ref<Frame> inner = enter(&frame, s.frame);
  Flow flow = Flow::kNormal;
  std::string text = captured_output([&] { flow = execute(s.body, *inner); });
  if (flow != Flow::kNormal) return flow;
  const Value value = string(std::move(text));
  write_text(filter(static_cast<const FilterExpr&>(*s.filter), *inner, &value));
  return flow;
}

Flow Interpreter::with(const WithStatement& s, Frame& frame) {
  const Ref<Frame> inner = enter(&frame, s.frame);
  for (size_t i = 0; i < s.targets.size(); ++i) {
    assign(*s.targets[i], evaluate(*s.values[i], frame), *inner, false);
  }
  return execute(s.body, *inner);
}

Flow Interpreter::scope(const ScopeStatement& s, Frame& frame) {
  const Ref<Frame> inner = enter(&frame, s.frame);
  if (s.autoescape && truth(evaluate(*s.autoescape, *inner))) {
    offset_ = s.offset;
    raise("autoescape is not supported");
  }
  return execute(s.body, *inner);
}

void Interpreter::write(std::string_view text) {
  meter.check_string(out_->size() + text.size());
  meter.step_text(text.size());
  *out_ += text;
}

void Interpreter::write_text(const Value& v) {
  if (!v.is_string()) raise("expected a string from the block, found {}", type_name(v));
  write(v.text());
}

}  // namespace dsv3::jinja
