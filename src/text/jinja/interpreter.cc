#include "text/jinja/interpreter.h"

#include <algorithm>
#include <unordered_map>

#include "text/jinja/functions.h"
#include "text/jinja/lexer.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/parser.h"
#include "text/jinja/resolver.h"
#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

// The variables of a body while it runs. Macros keep the frame that they were defined in.
struct Frame : Object {
  Frame(Meter& m, Frame* outer, const FrameLayout& layout)
      : Object(&m, sizeof(Frame) + static_cast<size_t>(layout.slots) * sizeof(Value)),
        parent(outer),
        slots(static_cast<size_t>(layout.slots)) {}
  Frame& up(int levels) {
    Frame* f = this;
    for (; levels > 0; --levels) f = f->parent.get();
    return *f;
  }
  Value& operator[](const Variable& v) { return up(v.up).slots[static_cast<size_t>(v.slot)]; }

  Ref<Frame> parent;
  std::vector<Value> slots;
  bool captured = false;
};

enum class Flow : uint8_t { kNormal, kBreak, kContinue };

class Interpreter;

// A macro, or the body of a call block.
class Macro : public NativeObject {
 public:
  Macro(Interpreter& interpreter, const MacroBody& body, Frame& closure);
  std::string_view type_name() const override { return "Macro"; }
  std::string repr(Runtime&) const override {
    return body_.name.empty() ? "<Macro anonymous>" : fmt::format("<Macro '{}'>", body_.name);
  }
  bool attribute(Runtime& runtime, std::string_view name, Value& out) override {
    if (name == "name") {
      out = body_.name.empty() ? Value::none() : runtime.string(body_.name);
    } else if (name == "arguments") {
      std::vector<Value> names;
      for (const auto& p : body_.parameters) names.push_back(runtime.string(p->name));
      out = runtime.tuple(std::move(names));
    } else if (name == "caller" || name == "catch_kwargs" || name == "catch_varargs") {
      out = Value((name == "caller"         ? body_.caller_slot
                   : name == "catch_kwargs" ? body_.kwargs_slot
                                            : body_.varargs_slot) >= 0);
    } else {
      return false;
    }
    return true;
  }
  bool callable() const override { return true; }
  bool truth() const override { return true; }
  Value call(Runtime& runtime, Arguments& arguments) override;

 private:
  Interpreter& interpreter_;
  const MacroBody& body_;
  Ref<Frame> closure_;
};

// The variable `loop`. Items come lazily, since a test of the loop is evaluated just before its
// item is needed, and may depend on what the body did before.
class Loop : public NativeObject {
 public:
  Loop(Interpreter& interpreter, const ForStatement& node, Frame& frame, const Value& iterable,
       int64_t depth0);
  bool advance();
  const Value& current() const { return current_; }
  /// When the loop has ended: it may be kept in a namespace, where it must not hold values.
  void finish();

  std::string_view type_name() const override { return "LoopContext"; }
  std::string repr(Runtime&) const override {
    return fmt::format("<LoopContext {}/{}>", index0_ + 1, length());
  }
  bool attribute(Runtime& runtime, std::string_view name, Value& out) override;
  bool callable() const override { return true; }
  int64_t length() const override { return const_cast<Loop*>(this)->total(); }
  Value call(Runtime& runtime, Arguments& arguments) override;
  Value cycle(const Arguments& arguments) const;
  bool changed(Runtime& runtime, const Arguments& arguments);

 private:
  bool peek();
  bool produce(Value& out);
  int64_t total();

  Interpreter& interpreter_;
  const ForStatement& node_;
  Frame* frame_;  // around the loop; null when it has ended
  Items items_;
  size_t at_ = 0;
  std::vector<Value> ready_;  // passed the test already, when the length was asked for
  size_t ready_at_ = 0;
  int64_t index0_ = -1, depth0_, total_ = -1;
  Value previous_, current_, next_, last_changed_;
};

class LoopFunction : public NativeObject {
 public:
  LoopFunction(Meter& m, const Value& loop, bool cycle)
      : NativeObject(&m, sizeof(*this)), loop_(loop), cycle_(cycle) {}
  std::string_view type_name() const override { return "method"; }
  std::string repr(Runtime& runtime) const override {
    return fmt::format("<bound method LoopContext.{} of {}>", cycle_ ? "cycle" : "changed",
                       loop_.native().repr(runtime));
  }
  bool callable() const override { return true; }
  bool truth() const override { return true; }
  Value call(Runtime& runtime, Arguments& arguments) override {
    auto& loop = static_cast<Loop&>(loop_.native());
    return cycle_ ? loop.cycle(arguments) : Value(loop.changed(runtime, arguments));
  }

 private:
  Value loop_;
  bool cycle_;
};

// `self`: exists, but blocks are only rendered where they stand.
class Self : public NativeObject {
 public:
  explicit Self(Meter& m) : NativeObject(&m, sizeof(*this)) {}
  std::string_view type_name() const override { return "TemplateReference"; }
  bool truth() const override { return true; }
};

class Interpreter : public Runtime {
 public:
  Interpreter(const Program& program, const Context& context, const TemplateLimits& limits,
              const std::optional<std::tm>& now)
      : Runtime(limits, now), program_(program) {
    for (const auto& [name, value] : context) variables_[name] = value;
  }

  // Frames that macros keep, and the macros in their variables, hold each other.
  ~Interpreter() {
    for (const Ref<Frame>& frame : captured_) {
      std::vector<Value> slots;
      slots.swap(frame->slots);
    }
  }

  std::string run() {
    Ref<Frame> frame = enter(nullptr, program_.frame);
    if (program_.self_slot >= 0) {
      frame->slots[static_cast<size_t>(program_.self_slot)] = make_object<Self>(meter);
    }
    std::string out;
    out_ = &out;
    execute(program_.body, *frame);
    return out;
  }

  uint32_t offset() const { return offset_; }

  // ---- frames ----

  Ref<Frame> enter(Frame* parent, const FrameLayout& layout) {
    Ref<Frame> frame(new Frame(meter, parent, layout));
    load(*frame, layout);
    return frame;
  }

  void load(Frame& frame, const FrameLayout& layout) {
    for (const Load& load : layout.loads) {
      Value& slot = frame.slots[static_cast<size_t>(load.slot)];
      switch (load.kind) {
        case Load::kNothing:
          slot = Value();
          break;
        case Load::kResolve:
          slot = lookup(load.name);
          break;
        case Load::kAlias:
          slot = frame[load.outer];
          break;
      }
    }
  }

  void capture(Frame& frame) {
    for (Frame* f = &frame; f && !f->captured; f = f->parent.get()) {
      f->captured = true;
      captured_.emplace_back(f);
    }
  }

  Value lookup(const std::string& name) {
    const auto found = variables_.find(name);
    return found != variables_.end() ? found->second : find_global(name);
  }

  // ---- expressions ----

  Value evaluate(const Expr& e, Frame& frame) {
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

  // ---- statements ----

  Flow execute(const Body& body, Frame& frame) {
    for (const StatementPtr& s : body) {
      const Flow flow = execute(*s, frame);
      if (flow != Flow::kNormal) return flow;
    }
    return Flow::kNormal;
  }

  // The output of `f` as a string.
  template <typename F>
  std::string captured_output(F f) {
    std::string text;
    std::string* const outer = std::exchange(out_, &text);
    // On an error the rendering ends, so `out_` need not be put back.
    f();
    out_ = outer;
    // Unused room must not count for nothing.
    meter.step_text(text.size());
    return text;
  }

  void assign(const Expr& target, const Value& value, Frame& frame, bool exports) {
    if (target.kind == ExprKind::kName) {
      const auto& name = static_cast<const NameExpr&>(target);
      frame[name.variable] = value;
      if (exports) variables_[name.name] = value;
    } else if (target.kind == ExprKind::kNamespaceRef) {
      const auto& ref = static_cast<const NamespaceRefExpr&>(target);
      offset_ = target.offset;
      set_attribute(frame[ref.variable], ref.attribute, value);
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

  // The iterations of a for over one iterable: the whole loop, or one level of a recursive one.
  Flow run_loop(const ForStatement& node, const Value& iterable, Frame& frame, int64_t depth0) {
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

  Value recurse(const ForStatement& node, const Value& iterable, Frame& frame, int64_t depth0) {
    const CallDepth depth(*this);
    return string(captured_output([&] { run_loop(node, iterable, frame, depth0); }));
  }

  Value call_macro(const MacroBody& macro, Frame& closure, Arguments& arguments);

  bool passes(const ForStatement& node, const Value& item, Frame& frame) {
    const Ref<Frame> inner = enter(&frame, node.test_frame);
    assign(*node.test_target, item, *inner, false);
    return truth(evaluate(*node.test, *inner));
  }

 private:
  // Calls of macros and recursive loops.
  class CallDepth {
   public:
    explicit CallDepth(Interpreter& i) : interpreter_(i) {
      if (interpreter_.calls_ >= interpreter_.meter.limits().max_depth) {
        raise("calls nested deeper than {} levels", interpreter_.meter.limits().max_depth);
      }
      ++interpreter_.calls_;
    }
    ~CallDepth() { --interpreter_.calls_; }
    CallDepth(const CallDepth&) = delete;
    CallDepth& operator=(const CallDepth&) = delete;

   private:
    Interpreter& interpreter_;
  };

  void write(std::string_view text) {
    meter.check_string(out_->size() + text.size());
    meter.step_text(text.size());
    *out_ += text;
  }

  Value name(const NameExpr& e, Frame& frame) {
    const Value& v = frame[e.variable];
    return v.is_missing() ? undefined(fmt::format("'{}' is undefined", e.name)) : v;
  }

  Value items(const ItemsExpr& e, Frame& frame) {
    std::vector<Value> out;
    out.reserve(e.items.size());
    for (const ExprPtr& item : e.items) out.push_back(evaluate(*item, frame));
    offset_ = e.offset;
    return e.kind == ExprKind::kList ? list(std::move(out)) : tuple(std::move(out));
  }

  Value concat(const ItemsExpr& e, Frame& frame) {
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

  Value dict(const DictExpr& e, Frame& frame) {
    Ref<Dict> out(new Dict(&meter));
    for (const auto& [key, value] : e.items) {
      Value k = evaluate(*key, frame);
      Value v = evaluate(*value, frame);
      offset_ = e.offset;
      out->set(std::move(k), std::move(v), meter);
    }
    return Value(Kind::kDict, out.get());
  }

  Value attribute(const AttributeExpr& e, Frame& frame) {
    const Value object = evaluate(*e.object, frame);
    offset_ = e.offset;
    return get_attribute(*this, object, e.name);
  }

  Value subscript(const SubscriptExpr& e, Frame& frame) {
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

  Arguments arguments(const CallArguments& in, Frame& frame) {
    Arguments out;
    out.positional.reserve(in.positional.size());
    for (const ExprPtr& a : in.positional) out.positional.push_back(evaluate(*a, frame));
    for (const auto& [name, value] : in.named)
      out.named.emplace_back(name, evaluate(*value, frame));
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

  Value call(const CallExpr& e, Frame& frame, const Value* caller) {
    const Value callee = evaluate(*e.callee, frame);
    Arguments args = arguments(e.arguments, frame);
    if (caller) args.named.emplace_back("caller", *caller);
    offset_ = e.offset;
    return call_value(*this, callee, args);
  }

  // `inner` is what the innermost filter of a block works on.
  Value filter(const FilterExpr& e, Frame& frame, const Value* inner) {
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

  Value test(const TestExpr& e, Frame& frame) {
    const Value input = evaluate(*e.input, frame);
    Arguments args = arguments(e.arguments, frame);
    offset_ = e.offset;
    if (!e.function) raise("No test named '{}' found.", e.name);
    return Value(e.function(*this, input, args));
  }

  Value unary(const UnaryExpr& e, Frame& frame) {
    const Value v = evaluate(*e.operand, frame);
    offset_ = e.offset;
    return unary_operation(*this, e.op, v);
  }

  Value binary(const BinaryExpr& e, Frame& frame) {
    const Value left = evaluate(*e.left, frame);
    const Value right = evaluate(*e.right, frame);
    offset_ = e.offset;
    return binary_operation(*this, e.op, left, right);
  }

  Value logic(const BinaryExpr& e, Frame& frame) {
    Value left = evaluate(*e.left, frame);
    if (truth(left) == (e.op == Operator::kOr)) return left;
    return evaluate(*e.right, frame);
  }

  Value comparison(const CompareExpr& e, Frame& frame) {
    Value left = evaluate(*e.first, frame);
    for (const auto& [op, operand] : e.rest) {
      Value right = evaluate(*operand, frame);
      offset_ = e.offset;
      if (!compare(*this, op, left, right)) return Value(false);
      left = std::move(right);
    }
    return Value(true);
  }

  Value conditional(const ConditionalExpr& e, Frame& frame) {
    if (truth(evaluate(*e.test, frame))) return evaluate(*e.yes, frame);
    if (e.no) return evaluate(*e.no, frame);
    return undefined(
        "the inline if-expression evaluated to false and no else section was defined.");
  }

  Flow execute(const Statement& s, Frame& frame) {
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

  void print(const PrintStatement& s, Frame& frame) {
    for (const ExprPtr& e : s.values) {
      const Value v = evaluate(*e, frame);
      offset_ = e->offset;
      if (v.is_string())
        write(v.text());
      else
        write(to_text(*this, v));
    }
  }

  Flow choose(const IfStatement& s, Frame& frame) {
    for (const auto& branch : s.branches) {
      if (truth(evaluate(*branch.test, frame))) return execute(branch.body, frame);
    }
    return execute(s.otherwise, frame);
  }

  Flow loop(const ForStatement& s, Frame& frame) {
    const Value iterable = evaluate(*s.iterable, frame);
    offset_ = s.iterable->offset;
    return run_loop(s, iterable, frame, 0);
  }

  Flow set_block(const SetBlockStatement& s, Frame& frame) {
    const Ref<Frame> inner = enter(&frame, s.frame);
    Flow flow = Flow::kNormal;
    std::string text = captured_output([&] { flow = execute(s.body, *inner); });
    if (flow != Flow::kNormal) return flow;
    Value value = string(std::move(text));
    if (s.filter) value = filter(static_cast<const FilterExpr&>(*s.filter), *inner, &value);
    assign(*s.target, value, frame, s.exports);
    return flow;
  }

  void call_block(const CallBlockStatement& s, Frame& frame) {
    const Value caller = make_object<Macro>(*this, s.caller, frame);
    const Value result = call(*s.call, frame, &caller);
    write_text(result);
  }

  // A block that is a filter or a call gives its text as it is: nothing is made text here.
  void write_text(const Value& v) {
    if (!v.is_string()) raise("expected a string from the block, found {}", type_name(v));
    write(v.text());
  }

  Flow filter_block(const FilterBlockStatement& s, Frame& frame) {
    const Ref<Frame> inner = enter(&frame, s.frame);
    Flow flow = Flow::kNormal;
    std::string text = captured_output([&] { flow = execute(s.body, *inner); });
    if (flow != Flow::kNormal) return flow;
    const Value value = string(std::move(text));
    write_text(filter(static_cast<const FilterExpr&>(*s.filter), *inner, &value));
    return flow;
  }

  Flow with(const WithStatement& s, Frame& frame) {
    const Ref<Frame> inner = enter(&frame, s.frame);
    for (size_t i = 0; i < s.targets.size(); ++i) {
      assign(*s.targets[i], evaluate(*s.values[i], frame), *inner, false);
    }
    return execute(s.body, *inner);
  }

  Flow scope(const ScopeStatement& s, Frame& frame) {
    const Ref<Frame> inner = enter(&frame, s.frame);
    if (s.autoescape && truth(evaluate(*s.autoescape, *inner))) {
      offset_ = s.offset;
      raise("autoescape is not supported");
    }
    return execute(s.body, *inner);
  }

  void set_attribute(const Value& object, const std::string& attribute, const Value& value) {
    require_defined(object);
    auto* ns = object.native_as<Namespace>();
    if (!ns) raise("cannot assign attribute on non-namespace object");
    ns->set(attribute, value);
  }

  const Program& program_;
  std::unordered_map<std::string, Value> variables_;
  std::string* out_ = nullptr;
  uint32_t offset_ = 0;
  int calls_ = 0;
  std::vector<Ref<Frame>> captured_;
};

Macro::Macro(Interpreter& interpreter, const MacroBody& body, Frame& closure)
    : NativeObject(&interpreter.meter, sizeof(*this)),
      interpreter_(interpreter),
      body_(body),
      closure_(&closure) {
  interpreter.capture(closure);
}

Value Macro::call(Runtime&, Arguments& arguments) {
  return interpreter_.call_macro(body_, *closure_, arguments);
}

Value Interpreter::call_macro(const MacroBody& macro, Frame& closure, Arguments& arguments) {
  const CallDepth depth(*this);
  const Ref<Frame> frame = enter(&closure, macro.frame);
  const auto slot = [&](int i) -> Value& { return frame->slots[static_cast<size_t>(i)]; };
  auto& named = arguments.named;
  const auto take = [&named](std::string_view name) {
    const auto at = std::find_if(named.begin(), named.end(),
                                 [&](const auto& argument) { return argument.first == name; });
    if (at == named.end()) return Value();
    Value v = at->second;
    named.erase(at);
    return v;
  };
  const auto& parameters = macro.parameters;
  const size_t given = std::min(arguments.positional.size(), parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    slot(parameters[i]->variable.slot) =
        i < given ? arguments.positional[i] : take(parameters[i]->name);
  }
  if (macro.caller_slot >= 0) {
    Value caller = take("caller");
    if (caller.is_missing()) caller = undefined("No caller defined");
    slot(macro.caller_slot) = caller;
  }
  if (macro.kwargs_slot >= 0) {
    Ref<Dict> rest(new Dict(&meter));
    for (const auto& [name, value] : named) rest->set(string(name), value, meter);
    slot(macro.kwargs_slot) = Value(Kind::kDict, rest.get());
  } else if (!named.empty()) {
    raise("macro '{}' takes no keyword argument '{}'", macro.name, named[0].first);
  }
  if (macro.varargs_slot >= 0) {
    slot(macro.varargs_slot) = tuple(
        {arguments.positional.begin() + static_cast<ptrdiff_t>(given), arguments.positional.end()});
  } else if (arguments.positional.size() > parameters.size()) {
    raise("macro '{}' takes not more than {} argument(s)", macro.name, parameters.size());
  }
  const size_t without_default = parameters.size() - macro.defaults.size();
  for (size_t i = 0; i < parameters.size(); ++i) {
    Value& parameter = slot(parameters[i]->variable.slot);
    if (!parameter.is_missing()) continue;
    if (i < without_default) {
      parameter = undefined(fmt::format("parameter '{}' was not provided", parameters[i]->name));
    } else {
      parameter = evaluate(*macro.defaults[i - without_default], *frame);
    }
  }
  return string(captured_output([&] { execute(macro.body, *frame); }));
}

Loop::Loop(Interpreter& interpreter, const ForStatement& node, Frame& frame, const Value& iterable,
           int64_t depth0)
    : NativeObject(&interpreter.meter, sizeof(*this)),
      interpreter_(interpreter),
      node_(node),
      frame_(&frame),
      items_(interpreter, iterable),
      depth0_(depth0) {
  if (!node.test) total_ = static_cast<int64_t>(items_.size());
}

bool Loop::produce(Value& out) {
  if (ready_at_ < ready_.size()) {
    out = std::move(ready_[ready_at_++]);
    return true;
  }
  while (at_ < items_.size()) {
    const Value& item = items_[at_++];
    if (node_.test && !interpreter_.passes(node_, item, *frame_)) continue;
    out = item;
    return true;
  }
  return false;
}

bool Loop::peek() { return !next_.is_missing() || produce(next_); }

bool Loop::advance() {
  Value item = std::exchange(next_, Value());
  if (item.is_missing() && !produce(item)) return false;
  ++index0_;
  previous_ = std::exchange(current_, std::move(item));
  return true;
}

int64_t Loop::total() {
  if (total_ >= 0) return total_;
  std::vector<Value> rest;
  for (Value v; produce(v);) rest.push_back(std::move(v));
  total_ = index0_ + 1 + static_cast<int64_t>(rest.size()) + !next_.is_missing();
  ready_ = std::move(rest);
  ready_at_ = 0;
  return total_;
}

void Loop::finish() {
  if (total_ < 0) total_ = index0_ + 1;
  items_.clear();
  ready_.clear();
  at_ = ready_at_ = 0;
  previous_ = current_ = next_ = last_changed_ = Value();
  frame_ = nullptr;
}

bool Loop::attribute(Runtime& runtime, std::string_view name, Value& out) {
  const auto item = [&](bool exists, const Value& v, const char* why) {
    out = exists && !v.is_missing() ? v : runtime.undefined(why);
  };
  if (name == "index")
    out = Value(index0_ + 1);
  else if (name == "index0")
    out = Value(index0_);
  else if (name == "first")
    out = Value(index0_ == 0);
  else if (name == "last")
    out = Value(!peek());
  else if (name == "length")
    out = Value(total());
  else if (name == "revindex")
    out = Value(total() - index0_);
  else if (name == "revindex0")
    out = Value(total() - index0_ - 1);
  else if (name == "depth")
    out = Value(depth0_ + 1);
  else if (name == "depth0")
    out = Value(depth0_);
  else if (name == "previtem")
    item(index0_ > 0, previous_, "there is no previous item");
  else if (name == "nextitem")
    item(peek(), next_, "there is no next item");
  else if (name == "cycle")
    out = make_object<LoopFunction>(runtime.meter, Value(Kind::kObject, this), true);
  else if (name == "changed")
    out = make_object<LoopFunction>(runtime.meter, Value(Kind::kObject, this), false);
  else
    return false;
  return true;
}

Value Loop::cycle(const Arguments& arguments) const {
  if (arguments.positional.empty()) raise("no items for cycling given");
  return arguments.positional[static_cast<size_t>(index0_) % arguments.positional.size()];
}

bool Loop::changed(Runtime& runtime, const Arguments& arguments) {
  if (!frame_) raise("the loop has ended");
  const Value now = runtime.tuple(arguments.positional);
  if (!last_changed_.is_missing() && equal(now, last_changed_, runtime.meter)) return false;
  last_changed_ = now;
  return true;
}

Value Loop::call(Runtime&, Arguments& arguments) {
  if (!node_.recursive) raise("the loop must be marked 'recursive' to be called");
  if (!frame_) raise("the loop has ended");
  const std::vector<Value> args = bind_arguments("loop", arguments, {"iterable"}, 1);
  return interpreter_.recurse(node_, args[0], *frame_, depth0_ + 1);
}

}  // namespace

Program compile(std::string_view source, const TemplateLimits& limits) {
  Program program;
  program.source = normalize_source(source);
  try {
    if (program.source.size() > UINT32_MAX) throw SyntaxFailure{"the template is too long", 0};
    for (size_t at = 0; at < program.source.size();) {
      const Utf8Step step = utf8_step(std::string_view(program.source).substr(at));
      if (step.kind != Utf8Step::kCharacter)
        throw SyntaxFailure{"the template is not valid UTF-8", at};
      at += step.length;
    }
    program.body = parse(program.source, limits.max_depth);
    program.frame = resolve(program.body, program.self_slot);
  } catch (const SyntaxFailure& failure) {
    throw TemplateError(TemplateError::Phase::kParse, failure.message, false, program.source,
                        failure.offset);
  } catch (const Failure& failure) {
    throw TemplateError(TemplateError::Phase::kParse, failure.message, false, program.source, 0);
  }
  return program;
}

std::string render(const Program& program, const Context& context, const TemplateLimits& limits,
                   const std::optional<std::tm>& now) {
  Interpreter interpreter(program, context, limits, now);
  try {
    return interpreter.run();
  } catch (const Failure& failure) {
    throw TemplateError(TemplateError::Phase::kRender, failure.message, failure.raised_by_template,
                        program.source, interpreter.offset());
  }
}

}  // namespace dsv3::jinja
