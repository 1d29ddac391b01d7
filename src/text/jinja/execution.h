#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "text/jinja/frame.h"
#include "text/jinja/interpreter.h"

namespace dsv3::jinja {

/// How a statement ended.
enum class Flow : uint8_t { kNormal, kBreak, kContinue };

/// One rendering of a program. Expressions are in expressions.cc, statements in statements.cc, and
/// what templates see of loops and macros in loop.h and macro.h.
class Interpreter : public Runtime {
 public:
  Interpreter(const Program& program, const Context& context, const TemplateLimits& limits,
              const std::optional<std::tm>& now);
  ~Interpreter();

  std::string run();
  /// Where in the source it is: the place of an error.
  uint32_t offset() const { return offset_; }

  // ---- frames ----

  /// A new frame with the variables that it begins with.
  Ref<Frame> enter(Frame* parent, const FrameLayout& layout);
  void load(Frame& frame, const FrameLayout& layout);
  /// To be told of frames that a macro keeps: they hold each other, and are emptied at the end.
  void capture(Frame& frame);

  // ---- expressions ----

  Value evaluate(const Expr& e, Frame& frame);

  // ---- statements ----

  Flow execute(const Body& body, Frame& frame);
  /// To a variable, an attribute of a namespace, or several of them. What is assigned at the top
  /// level is exported: blocks see it.
  void assign(const Expr& target, const Value& value, Frame& frame, bool exports);

  /// What `f` writes.
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

  /// The iterations of a for over one iterable: the whole loop, or one level of a recursive one.
  Flow run_loop(const ForStatement& node, const Value& iterable, Frame& frame, int64_t depth0);
  /// A level of a recursive loop that its body asks for.
  Value recurse(const ForStatement& node, const Value& iterable, Frame& frame, int64_t depth0);
  /// Whether an item passes the test of a for.
  bool passes(const ForStatement& node, const Value& item, Frame& frame);

  /// Counts calls of macros and recursive loops.
  class CallDepth {
   public:
    explicit CallDepth(Interpreter& interpreter);
    ~CallDepth() { --interpreter_.calls_; }
    CallDepth(const CallDepth&) = delete;
    CallDepth& operator=(const CallDepth&) = delete;

   private:
    Interpreter& interpreter_;
  };

 private:
  Value lookup(const std::string& name);

  Value name(const NameExpr& e, Frame& frame);
  Value items(const ItemsExpr& e, Frame& frame);
  Value concat(const ItemsExpr& e, Frame& frame);
  Value dict(const DictExpr& e, Frame& frame);
  Value attribute(const AttributeExpr& e, Frame& frame);
  Value subscript(const SubscriptExpr& e, Frame& frame);
  Arguments arguments(const CallArguments& in, Frame& frame);
  /// `caller` is null except for a call block.
  Value call(const CallExpr& e, Frame& frame, const Value* caller);
  /// `inner` is what the innermost filter of a block works on, else null.
  Value filter(const FilterExpr& e, Frame& frame, const Value* inner);
  Value test(const TestExpr& e, Frame& frame);
  Value unary(const UnaryExpr& e, Frame& frame);
  Value binary(const BinaryExpr& e, Frame& frame);
  Value logic(const BinaryExpr& e, Frame& frame);
  Value comparison(const CompareExpr& e, Frame& frame);
  Value conditional(const ConditionalExpr& e, Frame& frame);

  Flow execute(const Statement& s, Frame& frame);
  void print(const PrintStatement& s, Frame& frame);
  Flow choose(const IfStatement& s, Frame& frame);
  Flow loop(const ForStatement& s, Frame& frame);
  Flow set_block(const SetBlockStatement& s, Frame& frame);
  void call_block(const CallBlockStatement& s, Frame& frame);
  Flow filter_block(const FilterBlockStatement& s, Frame& frame);
  Flow with(const WithStatement& s, Frame& frame);
  Flow scope(const ScopeStatement& s, Frame& frame);

  void write(std::string_view text);
  /// A block that is a filter or a call gives its text as it is: nothing is made text here.
  void write_text(const Value& v);

  const Program& program_;
  std::unordered_map<std::string, Value> variables_;  // the context, and what was exported
  std::string* out_ = nullptr;
  uint32_t offset_ = 0;
  int calls_ = 0;
  std::vector<Ref<Frame>> captured_;
};

}  // namespace dsv3::jinja
