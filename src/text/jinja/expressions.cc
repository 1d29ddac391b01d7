// The expressions of a rendering.

#include "text/jinja/execution.h"
#include "text/jinja/operators.h"

namespace dsv3::jinja {

Value Interpreter::evaluate(const Expr& e, Frame& frame) {
  meter.step();
  switch (e.kind) {
    case ExprKind::kConstant:
      return static_cast<const ConstantExpr&>(e).value;
    case ExprKind::kName:
      return name(static_cast<const NameExpr&>(e), frame);
    default:
      break;
  }
  const Depth depth(*this);
  switch (e.kind) {
    case ExprKind::kList:
    case ExprKind::kTuple:
      return items(static_cast<const ItemsExpr&>(e), frame);
    case ExprKind::kConcat:
      return concat(static_cast<const ItemsExpr&>(e), frame);
    case ExprKind::kDict:
      return dict(static_cast<const DictExpr&>(e), frame);
    case ExprKind::kAttribute:
      return attribute(static_cast<const AttributeExpr&>(e), frame);
    case ExprKind::kSubscript:
      return subscript(static_cast<const SubscriptExpr&>(e), frame);
    case ExprKind::kCall:
      return call(static_cast<const CallExpr&>(e), frame, nullptr);
    case ExprKind::kFilter:
      return filter(static_cast<const FilterExpr&>(e), frame, nullptr);
    case ExprKind::kTest:
      return test(static_cast<const TestExpr&>(e), frame);
    case ExprKind::kUnary:
      return unary(static_cast<const UnaryExpr&>(e), frame);
    case ExprKind::kBinary:
      return binary(static_cast<const BinaryExpr&>(e), frame);
    case ExprKind::kLogic:
      return logic(static_cast<const BinaryExpr&>(e), frame);
    case ExprKind::kCompare:
      return comparison(static_cast<const CompareExpr&>(e), frame);
    case ExprKind::kConditional:
      return conditional(static_cast<const ConditionalExpr&>(e), frame);
    default:
      offset_ = e.offset;
      raise("a slice is only possible alone in brackets");
  }
}

Value Interpreter::name(const NameExpr& e, Frame& frame) {
  const Value& v = frame[e.variable];
  return v.is_missing() ? undefined(fmt::format("'{}' is undefined", e.name)) : v;
}

Value Interpreter::items(const ItemsExpr& e, Frame& frame) {
  std::vector<Value> out;
  out.reserve(e.items.size());
  for (const ExprPtr& item : e.items) out.push_back(evaluate(*item, frame));
  offset_ = e.offset;
  return e.kind == ExprKind::kList ? list(std::move(out)) : tuple(std::move(out));
}

Value Interpreter::concat(const ItemsExpr& e, Frame& frame) {
  std::string out;
  for (const ExprPtr& item : e.items) {
    const Value v = evaluate(*item, frame);
    offset_ = e.offset;
    if (v.is_string()) {
      meter.check_string(out.size() + v.text().size());
      out += v.text();
    } else {
      out += to_text(*this, v);
    }
  }
  return string(std::move(out));
}

Value Interpreter::dict(const DictExpr& e, Frame& frame) {
  Ref<Dict> out(new Dict(&meter));
  for (const auto& [key, value] : e.items) {
    Value k = evaluate(*key, frame);
    Value v = evaluate(*value, frame);
    offset_ = e.offset;
    out->set(std::move(k), std::move(v), meter);
  }
  return Value(Kind::kDict, out.get());
}

Value Interpreter::attribute(const AttributeExpr& e, Frame& frame) {
  const Value object = evaluate(*e.object, frame);
  offset_ = e.offset;
  return get_attribute(*this, object, e.name);
}

Value Interpreter::subscript(const SubscriptExpr& e, Frame& frame) {
  const Value object = evaluate(*e.object, frame);
  if (e.index->kind == ExprKind::kSlice) {
    const auto& slice = static_cast<const SliceExpr&>(*e.index);
    const auto part = [&](const ExprPtr& p) { return p ? evaluate(*p, frame) : Value(); };
    const Value start = part(slice.start), stop = part(slice.stop), step = part(slice.step);
    offset_ = e.offset;
    return get_slice(*this, object, start, stop, step);
  }
  const Value key = evaluate(*e.index, frame);
  offset_ = e.offset;
  return get_item(*this, object, key);
}

Arguments Interpreter::arguments(const CallArguments& in, Frame& frame) {
  Arguments out;
  out.positional.reserve(in.positional.size());
  for (const ExprPtr& a : in.positional) out.positional.push_back(evaluate(*a, frame));
  for (const auto& [name, value] : in.named) out.named.emplace_back(name, evaluate(*value, frame));
  if (in.star) {
    const Value more = evaluate(*in.star, frame);
    for (const Value& v : Items(*this, more)) out.positional.push_back(v);
  }
  if (in.double_star) {
    const Value more = evaluate(*in.double_star, frame);
    if (!more.is(Kind::kDict))
      raise("argument after ** must be a mapping, not {}", type_name(more));
    for (const auto& [key, value] : more.dict().items) {
      if (!key.is_string()) raise("keywords must be strings");
      for (const auto& other : out.named) {
        if (other.first == key.text())
          raise("multiple values for keyword argument '{}'", key.text());
      }
      out.named.emplace_back(key.text(), value);
      meter.step(out.named.size());
    }
  }
  return out;
}

Value Interpreter::call(const CallExpr& e, Frame& frame, const Value* caller) {
  const Value callee = evaluate(*e.callee, frame);
  Arguments args = arguments(e.arguments, frame);
  if (caller) args.named.emplace_back("caller", *caller);
  offset_ = e.offset;
  return call_value(*this, callee, args);
}

Value Interpreter::filter(const FilterExpr& e, Frame& frame, const Value* inner) {
  Value input;
  if (!e.input)
    input = *inner;
  else if (inner)
    input = filter(static_cast<const FilterExpr&>(*e.input), frame, inner);
  else
    input = evaluate(*e.input, frame);
  Arguments args = arguments(e.arguments, frame);
  offset_ = e.offset;
  if (!e.function) raise("No filter named '{}' found.", e.name);
  return e.function(*this, input, args);
}

Value Interpreter::test(const TestExpr& e, Frame& frame) {
  const Value input = evaluate(*e.input, frame);
  Arguments args = arguments(e.arguments, frame);
  offset_ = e.offset;
  if (!e.function) raise("No test named '{}' found.", e.name);
  return Value(e.function(*this, input, args));
}

Value Interpreter::unary(const UnaryExpr& e, Frame& frame) {
  const Value v = evaluate(*e.operand, frame);
  offset_ = e.offset;
  return unary_operation(*this, e.op, v);
}

Value Interpreter::binary(const BinaryExpr& e, Frame& frame) {
  const Value left = evaluate(*e.left, frame);
  const Value right = evaluate(*e.right, frame);
  offset_ = e.offset;
  return binary_operation(*this, e.op, left, right);
}

Value Interpreter::logic(const BinaryExpr& e, Frame& frame) {
  Value left = evaluate(*e.left, frame);
  if (truth(left) == (e.op == Operator::kOr)) return left;
  return evaluate(*e.right, frame);
}

Value Interpreter::comparison(const CompareExpr& e, Frame& frame) {
  Value left = evaluate(*e.first, frame);
  for (const auto& [op, operand] : e.rest) {
    Value right = evaluate(*operand, frame);
    offset_ = e.offset;
    if (!compare(*this, op, left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::conditional(const ConditionalExpr& e, Frame& frame) {
  if (truth(evaluate(*e.test, frame))) return evaluate(*e.yes, frame);
  if (e.no) return evaluate(*e.no, frame);
  return undefined("the inline if-expression evaluated to false and no else section was defined.");
}

}  // namespace dsv3::jinja
