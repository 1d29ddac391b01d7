#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace dsv3::jinja {

class Runtime;
using FilterFunction = Value (*)(Runtime&, const Value& input, Arguments&);
using TestFunction = bool (*)(Runtime&, const Value& input, Arguments&);

enum class ExprKind : uint8_t {
  kConstant,
  kName,
  kList,
  kTuple,
  kDict,
  kAttribute,
  kSubscript,
  kSlice,
  kCall,
  kFilter,
  kTest,
  kUnary,
  kBinary,
  kLogic,
  kCompare,
  kConcat,
  kConditional,
  kNamespaceRef,
};

struct Expr {
  Expr(ExprKind k, uint32_t at) : kind(k), offset(at) {}
  virtual ~Expr() = default;
  ExprKind kind;
  uint32_t offset;  // in the source
  int height = 1;   // of the tree below; bounded by the parser
};
using ExprPtr = std::unique_ptr<Expr>;

/// Where a variable lies: in the frame `up` levels out, at `slot`.
struct Variable {
  int up = 0;
  int slot = -1;
};

struct ConstantExpr : Expr {
  ConstantExpr(uint32_t at, Value v) : Expr(ExprKind::kConstant, at), value(std::move(v)) {}
  Value value;
};

/// A variable, read or (as a target) written.
struct NameExpr : Expr {
  NameExpr(uint32_t at, std::string n) : Expr(ExprKind::kName, at), name(std::move(n)) {}
  std::string name;
  Variable variable;
};

/// `name.attribute` as the target of a set.
struct NamespaceRefExpr : Expr {
  explicit NamespaceRefExpr(uint32_t at) : Expr(ExprKind::kNamespaceRef, at) {}
  std::string name, attribute;
  Variable variable;
};

/// kList, kTuple, kConcat: the parts of it.
struct ItemsExpr : Expr {
  using Expr::Expr;
  std::vector<ExprPtr> items;
};

struct DictExpr : Expr {
  explicit DictExpr(uint32_t at) : Expr(ExprKind::kDict, at) {}
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};

struct AttributeExpr : Expr {
  explicit AttributeExpr(uint32_t at) : Expr(ExprKind::kAttribute, at) {}
  ExprPtr object;
  std::string name;
};

struct SubscriptExpr : Expr {
  explicit SubscriptExpr(uint32_t at) : Expr(ExprKind::kSubscript, at) {}
  ExprPtr object, index;
};

/// Only as the index of a subscript; absent parts are null.
struct SliceExpr : Expr {
  explicit SliceExpr(uint32_t at) : Expr(ExprKind::kSlice, at) {}
  ExprPtr start, stop, step;
};

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, double_star;  // *args, **kwargs
};

struct CallExpr : Expr {
  explicit CallExpr(uint32_t at) : Expr(ExprKind::kCall, at) {}
  ExprPtr callee;
  CallArguments arguments;
};

/// `input` is null at the inner end of the filters of a block. `function` is null for a name that
/// no filter has, which is an error when it is reached.
struct FilterExpr : Expr {
  explicit FilterExpr(uint32_t at) : Expr(ExprKind::kFilter, at) {}
  ExprPtr input;
  std::string name;
  CallArguments arguments;
  FilterFunction function = nullptr;
};

struct TestExpr : Expr {
  explicit TestExpr(uint32_t at) : Expr(ExprKind::kTest, at) {}
  ExprPtr input;
  std::string name;
  CallArguments arguments;
  TestFunction function = nullptr;
};

enum class Operator : uint8_t {
  kNot,
  kNegative,
  kPositive,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kAnd,
  kOr,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct UnaryExpr : Expr {
  UnaryExpr(uint32_t at, Operator o) : Expr(ExprKind::kUnary, at), op(o) {}
  Operator op;
  ExprPtr operand;
};

/// kBinary, or kLogic for `and` and `or`.
struct BinaryExpr : Expr {
  BinaryExpr(ExprKind k, uint32_t at, Operator o) : Expr(k, at), op(o) {}
  Operator op;
  ExprPtr left, right;
};

/// a < b <= c
struct CompareExpr : Expr {
  explicit CompareExpr(uint32_t at) : Expr(ExprKind::kCompare, at) {}
  ExprPtr first;
  std::vector<std::pair<Operator, ExprPtr>> rest;
};

struct ConditionalExpr : Expr {
  explicit ConditionalExpr(uint32_t at) : Expr(ExprKind::kConditional, at) {}
  ExprPtr test, yes, no;  // `no` may be null
};

enum class StatementKind : uint8_t {
  kText,
  kPrint,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,
  kBlock,
  kBreak,
  kContinue,
  kLoad,
};

struct Statement {
  Statement(StatementKind k, uint32_t at) : kind(k), offset(at) {}
  virtual ~Statement() = default;
  StatementKind kind;
  uint32_t offset;
};
using StatementPtr = std::unique_ptr<Statement>;
using Body = std::vector<StatementPtr>;

/// Where a variable of a frame gets its value from when the frame is entered.
struct Load {
  enum Kind : uint8_t { kNothing, kResolve, kAlias } kind;
  int slot;
  std::string name;  // kResolve: of the context
  Variable outer;    // kAlias: counted from the frame itself
};

/// Filled in by the resolver.
struct FrameLayout {
  int slots = 0;
  std::vector<Load> loads;
};

struct TextStatement : Statement {
  TextStatement(uint32_t at, std::string t)
      : Statement(StatementKind::kText, at), text(std::move(t)) {}
  std::string text;
};

struct PrintStatement : Statement {
  explicit PrintStatement(uint32_t at) : Statement(StatementKind::kPrint, at) {}
  std::vector<ExprPtr> values;
};

struct IfStatement : Statement {
  explicit IfStatement(uint32_t at) : Statement(StatementKind::kIf, at) {}
  struct Branch {
    ExprPtr test;
    Body body;
  };
  std::vector<Branch> branches;
  Body otherwise;
};

struct ForStatement : Statement {
  explicit ForStatement(uint32_t at) : Statement(StatementKind::kFor, at) {}
  ExprPtr target;       // of the loop's frame
  ExprPtr test_target;  // the same in the test's frame; null without a test
  ExprPtr iterable, test;
  bool recursive = false;
  Body body, otherwise;
  FrameLayout frame, test_frame, else_frame;
  int loop_slot = -1;  // of `loop` in the loop's frame
};

struct SetStatement : Statement {
  explicit SetStatement(uint32_t at) : Statement(StatementKind::kSet, at) {}
  ExprPtr target, value;
  bool exports = false;  // at the top level: blocks see it
};

struct SetBlockStatement : Statement {
  explicit SetBlockStatement(uint32_t at) : Statement(StatementKind::kSetBlock, at) {}
  ExprPtr target, filter;  // `filter` may be null
  Body body;
  FrameLayout frame;
  bool exports = false;
};

/// What macros and call blocks have in common.
struct MacroBody {
  std::string name;  // empty for a call block
  std::vector<std::unique_ptr<NameExpr>> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Body body;
  FrameLayout frame;
  // Slots of the special variables; -1 where the body does not use them.
  int caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;
};

struct MacroStatement : Statement {
  explicit MacroStatement(uint32_t at) : Statement(StatementKind::kMacro, at) {}
  MacroBody macro;
  std::unique_ptr<NameExpr> target;
  bool exports = false;
};

struct CallBlockStatement : Statement {
  explicit CallBlockStatement(uint32_t at) : Statement(StatementKind::kCallBlock, at) {}
  MacroBody caller;
  std::unique_ptr<CallExpr> call;
};

struct FilterBlockStatement : Statement {
  explicit FilterBlockStatement(uint32_t at) : Statement(StatementKind::kFilterBlock, at) {}
  ExprPtr filter;
  Body body;
  FrameLayout frame;
};

struct WithStatement : Statement {
  explicit WithStatement(uint32_t at) : Statement(StatementKind::kWith, at) {}
  std::vector<ExprPtr> targets, values;
  Body body;
  FrameLayout frame;
};

/// {% generation %} and {% autoescape %}: a body with variables of its own.
struct ScopeStatement : Statement {
  explicit ScopeStatement(uint32_t at) : Statement(StatementKind::kScope, at) {}
  ExprPtr autoescape;        // null for generation
  bool is_function = false;  // break does not leave it
  Body body;
  FrameLayout frame;
};

struct BlockStatement : Statement {
  explicit BlockStatement(uint32_t at) : Statement(StatementKind::kBlock, at) {}
  std::string name;
  bool scoped = false, required = false;
  Body body;
  FrameLayout frame;
};

/// kBreak, kContinue
struct JumpStatement : Statement {
  using Statement::Statement;
};

/// include, import, from and extends: there is nothing to load from.
struct LoadStatement : Statement {
  explicit LoadStatement(uint32_t at) : Statement(StatementKind::kLoad, at) {}
  ExprPtr source;
  std::vector<std::unique_ptr<NameExpr>> targets;  // that an import would set
};

}  // namespace dsv3::jinja
