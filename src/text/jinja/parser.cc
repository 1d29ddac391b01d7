#include "text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "base/error.h"
#include "text/jinja/lexer.h"

namespace dsv3::jinja {
namespace {

// Recursive descent; one function for each level of precedence, loosest first. Two of Jinja's
// levels surprise: `~` binds tighter than `+`, and `**` groups to the left.
class Parser {
 public:
  Parser(std::string_view source, int max_depth)
      : tokens_(tokenize(source)), max_depth_(max_depth) {}

  Body run() {
    Body body = statements({});
    return body;
  }

 private:
  using Names = std::vector<std::string_view>;

  // ---- tokens ----

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  static bool is_op(const Token& t, std::string_view op) {
    return t.kind == TokenKind::kOperator && t.text == op;
  }
  static bool is_name(const Token& t, std::string_view name) {
    return t.kind == TokenKind::kName && t.text == name;
  }
  bool at_op(std::string_view op) const { return is_op(current(), op); }
  bool at_name(std::string_view name) const { return is_name(current(), name); }
  bool at(TokenKind kind) const { return current().kind == kind; }
  bool skip_op(std::string_view op) { return at_op(op) && (next(), true); }
  bool skip_name(std::string_view name) { return at_name(name) && (next(), true); }
  uint32_t offset() const { return current().offset; }

  template <typename... Args>
  [[noreturn]] void fail_at(uint32_t where, fmt::format_string<Args...> format, Args&&... args) {
    throw SyntaxFailure{fmt::format(format, std::forward<Args>(args)...), where};
  }
  [[noreturn]] void expected(std::string_view what) {
    if (at(TokenKind::kEnd)) fail_at(offset(), "unexpected end of template, expected '{}'", what);
    fail_at(offset(), "expected '{}', got '{}'", what, describe(current()));
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) expected(op);
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) expected(name);
  }
  const Token& expect(TokenKind kind, std::string_view what) {
    if (!at(kind)) expected(what);
    return next();
  }
  void expect_block_end() { expect(TokenKind::kBlockEnd, "end of statement block"); }

  // The parser's own recursion.
  class Nesting {
   public:
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > parser_.max_depth_) {
        parser_.fail_at(parser_.offset(), "nested deeper than {} levels", parser_.max_depth_);
      }
    }
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  // Puts `child` below `parent`. Long chains ("a + b + c ...") nest without recursion here, but are
  // evaluated by recursion later.
  ExprPtr under(Expr& parent, ExprPtr child) {
    if (child) parent.height = std::max(parent.height, child->height + 1);
    if (parent.height > 4 * max_depth_) fail_at(parent.offset, "expression is too long");
    return child;
  }

  // ---- expressions ----

  ExprPtr expression(bool conditional = true) {
    return conditional ? this->conditional() : logic_or();
  }

  ExprPtr conditional() {
    const Nesting nesting(*this);
    ExprPtr value = logic_or();
    while (at_name("if")) {
      auto node = std::make_unique<ConditionalExpr>(next().offset);
      node->test = under(*node, logic_or());
      node->yes = under(*node, std::move(value));
      if (skip_name("else")) node->no = under(*node, conditional());
      value = std::move(node);
    }
    return value;
  }

  ExprPtr binary(ExprKind kind, Operator op, uint32_t where, ExprPtr left, ExprPtr right) {
    auto node = std::make_unique<BinaryExpr>(kind, where, op);
    node->left = under(*node, std::move(left));
    node->right = under(*node, std::move(right));
    return node;
  }

  ExprPtr logic_or() {
    ExprPtr left = logic_and();
    while (at_name("or")) {
      const uint32_t where = next().offset;
      left = binary(ExprKind::kLogic, Operator::kOr, where, std::move(left), logic_and());
    }
    return left;
  }

  ExprPtr logic_and() {
    ExprPtr left = logic_not();
    while (at_name("and")) {
      const uint32_t where = next().offset;
      left = binary(ExprKind::kLogic, Operator::kAnd, where, std::move(left), logic_not());
    }
    return left;
  }

  ExprPtr logic_not() {
    if (!at_name("not")) return comparison();
    const Nesting nesting(*this);
    auto node = std::make_unique<UnaryExpr>(next().offset, Operator::kNot);
    node->operand = under(*node, logic_not());
    return node;
  }

  std::optional<Operator> comparison_operator() {
    static constexpr std::pair<std::string_view, Operator> kOperators[] = {
        {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
        {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
    for (const auto& [text, op] : kOperators) {
      if (skip_op(text)) return op;
    }
    if (skip_name("in")) return Operator::kIn;
    if (at_name("not") && is_name(ahead(), "in")) {
      next();
      next();
      return Operator::kNotIn;
    }
    return std::nullopt;
  }

  ExprPtr comparison() {
    ExprPtr first = sum();
    uint32_t where = offset();
    std::optional<Operator> op = comparison_operator();
    if (!op) return first;
    auto node = std::make_unique<CompareExpr>(where);
    node->first = under(*node, std::move(first));
    for (; op; op = comparison_operator()) {
      node->rest.emplace_back(*op, nullptr);
      node->rest.back().second = under(*node, sum());
    }
    return node;
  }

  // One level of binary operators that group to the left.
  template <typename Operand>
  ExprPtr left_to_right(std::initializer_list<std::pair<std::string_view, Operator>> operators,
                        Operand operand) {
    ExprPtr left = operand();
    for (;;) {
      const auto* found = operators.begin();
      while (found != operators.end() && !at_op(found->first)) ++found;
      if (found == operators.end()) return left;
      const uint32_t where = next().offset;
      left = binary(ExprKind::kBinary, found->second, where, std::move(left), operand());
    }
  }

  ExprPtr sum() {
    return left_to_right({{"+", Operator::kAdd}, {"-", Operator::kSubtract}},
                         [this] { return concatenation(); });
  }

  ExprPtr concatenation() {
    ExprPtr first = product();
    if (!at_op("~")) return first;
    auto node = std::make_unique<ItemsExpr>(ExprKind::kConcat, offset());
    node->items.push_back(under(*node, std::move(first)));
    while (skip_op("~")) node->items.push_back(under(*node, product()));
    return node;
  }

  ExprPtr product() {
    return left_to_right({{"*", Operator::kMultiply},
                          {"/", Operator::kDivide},
                          {"//", Operator::kFloorDivide},
                          {"%", Operator::kModulo}},
                         [this] { return power(); });
  }

  ExprPtr power() {
    return left_to_right({{"**", Operator::kPower}}, [this] { return unary(true); });
  }

  ExprPtr unary(bool with_filters) {
    ExprPtr node;
    if (at_op("-") || at_op("+")) {
      const Nesting nesting(*this);
      const Operator op = at_op("-") ? Operator::kNegative : Operator::kPositive;
      auto sign = std::make_unique<UnaryExpr>(next().offset, op);
      sign->operand = under(*sign, unary(false));
      node = std::move(sign);
    } else {
      node = primary();
    }
    node = postfix(std::move(node));
    return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
  }

  ExprPtr primary() {
    const Token& token = current();
    switch (token.kind) {
      case TokenKind::kName:
        return name_or_constant();
      case TokenKind::kString: {
        std::string text;
        while (at(TokenKind::kString)) text += next().text;
        return std::make_unique<ConstantExpr>(token.offset, make_string(nullptr, std::move(text)));
      }
      case TokenKind::kInteger:
        next();
        return std::make_unique<ConstantExpr>(token.offset, Value(token.integer));
      case TokenKind::kFloat:
        next();
        return std::make_unique<ConstantExpr>(token.offset, Value(token.real));
      default:
        break;
    }
    if (at_op("(")) {
      next();
      ExprPtr node = tuple({.in_parentheses = true});
      expect_op(")");
      return node;
    }
    if (at_op("[")) return list();
    if (at_op("{")) return dict();
    fail_at(token.offset, "unexpected '{}'", describe(token));
  }

  ExprPtr name_or_constant() {
    const Token& token = next();
    if (token.text == "true" || token.text == "True") {
      return std::make_unique<ConstantExpr>(token.offset, Value(true));
    }
    if (token.text == "false" || token.text == "False") {
      return std::make_unique<ConstantExpr>(token.offset, Value(false));
    }
    if (token.text == "none" || token.text == "None") {
      return std::make_unique<ConstantExpr>(token.offset, Value::none());
    }
    return std::make_unique<NameExpr>(token.offset, token.text);
  }

  struct TupleRules {
    bool conditional = true;      // an inline if is part of an item
    bool targets = false;         // only what can be assigned to
    bool namespaces = false;      // with `targets`: ns.name too
    bool in_parentheses = false;  // an empty one is allowed
    std::string_view end = {};    // a name that ends it
  };

  bool tuple_ends(std::string_view end) const {
    return at(TokenKind::kPrintEnd) || at(TokenKind::kBlockEnd) || at_op(")") ||
           (!end.empty() && at_name(end));
  }

  // One expression, or several with commas: a tuple.
  ExprPtr tuple(const TupleRules& rules) {
    const uint32_t where = offset();
    auto node = std::make_unique<ItemsExpr>(ExprKind::kTuple, where);
    bool is_tuple = false;
    while (true) {
      if (!node->items.empty()) expect_op(",");
      if (tuple_ends(rules.end)) break;
      node->items.push_back(under(
          *node, rules.targets ? target_item(rules.namespaces) : expression(rules.conditional)));
      if (!at_op(",")) break;
      is_tuple = true;
    }
    if (is_tuple) return node;
    if (!node->items.empty()) return std::move(node->items[0]);
    if (!rules.in_parentheses) {
      fail_at(offset(), "expected an expression, got '{}'", describe(current()));
    }
    return node;
  }

  ExprPtr list() {
    auto node = std::make_unique<ItemsExpr>(ExprKind::kList, next().offset);
    while (!at_op("]")) {
      if (!node->items.empty()) expect_op(",");
      if (at_op("]")) break;
      node->items.push_back(under(*node, expression()));
    }
    next();
    return node;
  }

  ExprPtr dict() {
    auto node = std::make_unique<DictExpr>(next().offset);
    while (!at_op("}")) {
      if (!node->items.empty()) expect_op(",");
      if (at_op("}")) break;
      ExprPtr key = under(*node, expression());
      expect_op(":");
      node->items.emplace_back(std::move(key), under(*node, expression()));
    }
    next();
    return node;
  }

  ExprPtr postfix(ExprPtr node) {
    while (true) {
      if (at_op("."))
        node = attribute(std::move(node));
      else if (at_op("["))
        node = subscript(std::move(node));
      else if (at_op("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  ExprPtr filters_and_tests(ExprPtr node) {
    while (true) {
      if (at_op("|"))
        node = filters(std::move(node));
      else if (at_name("is"))
        node = test(std::move(node));
      else if (at_op("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  ExprPtr attribute(ExprPtr object) {
    const uint32_t where = next().offset;
    const Token& token = next();
    if (token.kind == TokenKind::kName) {
      auto node = std::make_unique<AttributeExpr>(where);
      node->object = under(*node, std::move(object));
      node->name = token.text;
      return node;
    }
    if (token.kind != TokenKind::kInteger) fail_at(token.offset, "expected name or number");
    auto node = std::make_unique<SubscriptExpr>(where);
    node->object = under(*node, std::move(object));
    node->index = std::make_unique<ConstantExpr>(token.offset, Value(token.integer));
    return node;
  }

  ExprPtr subscript(ExprPtr object) {
    auto node = std::make_unique<SubscriptExpr>(next().offset);
    node->object = under(*node, std::move(object));
    auto indices = std::make_unique<ItemsExpr>(ExprKind::kTuple, node->offset);
    while (!at_op("]")) {
      if (!indices->items.empty()) expect_op(",");
      indices->items.push_back(under(*indices, index()));
    }
    next();
    if (indices->items.size() == 1)
      node->index = under(*node, std::move(indices->items[0]));
    else
      node->index = under(*node, std::move(indices));
    return node;
  }

  ExprPtr index() {
    const uint32_t where = offset();
    ExprPtr start;
    if (!at_op(":")) {
      start = expression();
      if (!at_op(":")) return start;
    }
    next();
    auto node = std::make_unique<SliceExpr>(where);
    node->start = under(*node, std::move(start));
    const auto ends = [this] { return at_op("]") || at_op(","); };
    if (!at_op(":") && !ends()) node->stop = under(*node, expression());
    if (skip_op(":") && !ends()) node->step = under(*node, expression());
    return node;
  }

  void call_arguments(Expr& node, CallArguments& out) {
    const uint32_t where = offset();
    expect_op("(");
    const auto require = [&](bool good) {
      if (!good) fail_at(where, "invalid syntax for function call expression");
    };
    for (bool first = true; !at_op(")"); first = false) {
      if (!first) {
        expect_op(",");
        if (at_op(")")) break;
      }
      if (skip_op("*")) {
        require(!out.star && !out.double_star);
        out.star = under(node, expression());
      } else if (skip_op("**")) {
        require(!out.double_star);
        out.double_star = under(node, expression());
      } else if (at(TokenKind::kName) && is_op(ahead(), "=")) {
        require(!out.double_star);
        std::string name = next().text;
        next();
        for (const auto& other : out.named) {
          if (other.first == name) fail_at(where, "keyword argument repeated: {}", name);
        }
        out.named.emplace_back(std::move(name), under(node, expression()));
      } else {
        require(!out.star && !out.double_star && out.named.empty());
        out.positional.push_back(under(node, expression()));
      }
    }
    next();
  }

  ExprPtr call(ExprPtr callee) {
    auto node = std::make_unique<CallExpr>(offset());
    node->callee = under(*node, std::move(callee));
    call_arguments(*node, node->arguments);
    return node;
  }

  std::string dotted_name() {
    std::string name = expect(TokenKind::kName, "name").text;
    while (skip_op(".")) name += "." + expect(TokenKind::kName, "name").text;
    return name;
  }

  ExprPtr one_filter(ExprPtr input) {
    auto node = std::make_unique<FilterExpr>(offset());
    node->name = dotted_name();
    node->input = under(*node, std::move(input));
    if (at_op("(")) call_arguments(*node, node->arguments);
    return node;
  }

  ExprPtr filters(ExprPtr node) {
    while (skip_op("|")) node = one_filter(std::move(node));
    return node;
  }

  ExprPtr test(ExprPtr input) {
    const uint32_t where = next().offset;
    const bool negated = skip_name("not");
    auto node = std::make_unique<TestExpr>(offset());
    node->name = dotted_name();
    node->input = under(*node, std::move(input));
    if (at_op("(")) {
      call_arguments(*node, node->arguments);
    } else if (starts_test_argument()) {
      if (at_name("is")) fail_at(offset(), "You cannot chain multiple tests with is");
      const Nesting nesting(*this);
      node->arguments.positional.push_back(under(*node, postfix(primary())));
    }
    if (!negated) return node;
    auto negation = std::make_unique<UnaryExpr>(where, Operator::kNot);
    negation->operand = under(*negation, std::move(node));
    return negation;
  }

  bool starts_test_argument() const {
    switch (current().kind) {
      case TokenKind::kName:
        return !at_name("else") && !at_name("or") && !at_name("and");
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return true;
      default:
        return at_op("[") || at_op("{");
    }
  }

  // ---- targets of assignments ----

  ExprPtr target_item(bool namespaces) {
    const Nesting nesting(*this);
    if (namespaces && at(TokenKind::kName) && is_op(ahead(), ".")) {
      auto node = std::make_unique<NamespaceRefExpr>(offset());
      node->name = next().text;
      next();
      node->attribute = expect(TokenKind::kName, "name").text;
      return node;
    }
    return primary();
  }

  void check_target(const Expr& target) {
    if (target.kind == ExprKind::kName || target.kind == ExprKind::kNamespaceRef) return;
    if (target.kind != ExprKind::kTuple) fail_at(target.offset, "can't assign to this");
    for (const ExprPtr& item : static_cast<const ItemsExpr&>(target).items) check_target(*item);
  }

  ExprPtr target(bool namespaces, std::string_view end = {}) {
    ExprPtr node = tuple({.targets = true, .namespaces = namespaces, .end = end});
    check_target(*node);
    return node;
  }

  std::unique_ptr<NameExpr> name_target() {
    const Token& token = expect(TokenKind::kName, "name");
    for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
      if (token.text == constant) fail_at(token.offset, "can't assign to '{}'", token.text);
    }
    return std::make_unique<NameExpr>(token.offset, token.text);
  }

  static ExprPtr copy_target(const Expr& target) {
    if (target.kind == ExprKind::kName) {
      return std::make_unique<NameExpr>(target.offset, static_cast<const NameExpr&>(target).name);
    }
    auto copy = std::make_unique<ItemsExpr>(ExprKind::kTuple, target.offset);
    for (const ExprPtr& item : static_cast<const ItemsExpr&>(target).items) {
      copy->items.push_back(copy_target(*item));
    }
    return copy;
  }

  // ---- statements ----

  // Statements up to a tag of one of these names (none: to the end of the template); that name is
  // the current token afterwards.
  Body statements(const Names& ends) {
    const Nesting nesting(*this);
    Body body;
    while (!at(TokenKind::kEnd)) {
      const Token& token = next();
      if (token.kind == TokenKind::kText) {
        body.push_back(std::make_unique<TextStatement>(token.offset, token.text));
      } else if (token.kind == TokenKind::kPrintBegin) {
        auto print = std::make_unique<PrintStatement>(token.offset);
        print->values.push_back(tuple({}));
        expect(TokenKind::kPrintEnd, "end of print statement");
        body.push_back(std::move(print));
      } else {  // kBlockBegin: the lexer puts nothing else outside of tags
        for (const std::string_view end : ends) {
          if (at_name(end)) return body;
        }
        body.push_back(statement(ends));
        expect_block_end();
      }
    }
    if (!ends.empty()) {
      fail_at(offset(), "unexpected end of template: '{}' of line {} needs {}",
              open_tags_.back().name, line_of(open_tags_.back().offset), quoted(ends));
    }
    return body;
  }

  // The body of the current tag.
  Body block_body(const Names& ends) {
    skip_op(":");
    expect_block_end();
    return statements(ends);
  }
  Body last_body(std::string_view end) {
    Body body = block_body({end});
    next();
    return body;
  }

  static std::string quoted(const Names& names) {
    std::string out;
    for (const std::string_view name : names) {
      out += fmt::format("{}'{}'", out.empty() ? "" : " or ", name);
    }
    return out;
  }
  size_t line_of(uint32_t where) const {
    size_t line = 1;
    for (const Token& token : tokens_) {
      if (token.offset >= where) break;
      if (token.kind == TokenKind::kText) {
        line += static_cast<size_t>(std::count(token.text.begin(), token.text.end(), '\n'));
      }
    }
    return line;
  }

  StatementPtr statement(const Names& ends) {
    using Parse = StatementPtr (Parser::*)();
    static constexpr std::pair<std::string_view, Parse> kTags[] = {
        {"if", &Parser::if_tag},
        {"for", &Parser::for_tag},
        {"set", &Parser::set_tag},
        {"macro", &Parser::macro_tag},
        {"call", &Parser::call_tag},
        {"filter", &Parser::filter_tag},
        {"with", &Parser::with_tag},
        {"generation", &Parser::generation_tag},
        {"autoescape", &Parser::autoescape_tag},
        {"block", &Parser::block_tag},
        {"print", &Parser::print_tag},
        {"break", &Parser::jump_tag},
        {"continue", &Parser::jump_tag},
        {"include", &Parser::include_tag},
        {"extends", &Parser::extends_tag},
        {"import", &Parser::import_tag},
        {"from", &Parser::from_tag}};
    const Token& token = current();
    if (token.kind != TokenKind::kName) fail_at(token.offset, "tag name expected");
    for (const auto& [name, parse_tag] : kTags) {
      if (token.text != name) continue;
      open_tags_.push_back({token.text, token.offset});
      StatementPtr node = (this->*parse_tag)();
      open_tags_.pop_back();
      return node;
    }
    if (ends.empty()) fail_at(token.offset, "unknown tag '{}'", token.text);
    fail_at(token.offset, "unknown tag '{}'; '{}' of line {} needs {}", token.text,
            open_tags_.back().name, line_of(open_tags_.back().offset), quoted(ends));
  }

  StatementPtr if_tag() {
    auto node = std::make_unique<IfStatement>(offset());
    do {
      next();
      node->branches.emplace_back();
      node->branches.back().test = tuple({.conditional = false});
      node->branches.back().body = block_body({"elif", "else", "endif"});
    } while (at_name("elif"));
    if (next().text == "else") node->otherwise = last_body("endif");
    return node;
  }

  StatementPtr for_tag() {
    auto node = std::make_unique<ForStatement>(next().offset);
    node->target = target(false, "in");
    expect_name("in");
    node->iterable = tuple({.conditional = false, .end = "recursive"});
    if (skip_name("if")) {
      node->test = expression();
      node->test_target = copy_target(*node->target);
    }
    node->recursive = skip_name("recursive");
    node->body = block_body({"endfor", "else"});
    if (next().text == "else") node->otherwise = last_body("endfor");
    return node;
  }

  StatementPtr set_tag() {
    const uint32_t where = next().offset;
    ExprPtr to = target(true);
    if (skip_op("=")) {
      auto node = std::make_unique<SetStatement>(where);
      node->target = std::move(to);
      node->value = tuple({});
      return node;
    }
    auto node = std::make_unique<SetBlockStatement>(where);
    node->target = std::move(to);
    node->filter = filters(nullptr);
    node->body = last_body("endset");
    return node;
  }

  void parameters(MacroBody& macro) {
    expect_op("(");
    while (!at_op(")")) {
      if (!macro.parameters.empty()) expect_op(",");
      macro.parameters.push_back(name_target());
      if (skip_op("=")) {
        macro.defaults.push_back(expression());
      } else if (!macro.defaults.empty()) {
        fail_at(offset(), "non-default argument follows default argument");
      }
      for (size_t i = 0; i + 1 < macro.parameters.size(); ++i) {
        if (macro.parameters[i]->name == macro.parameters.back()->name) {
          fail_at(macro.parameters.back()->offset, "duplicate argument '{}'",
                  macro.parameters[i]->name);
        }
      }
    }
    next();
  }

  StatementPtr macro_tag() {
    auto node = std::make_unique<MacroStatement>(next().offset);
    node->target = name_target();
    node->macro.name = node->target->name;
    parameters(node->macro);
    node->macro.body = last_body("endmacro");
    return node;
  }

  StatementPtr call_tag() {
    auto node = std::make_unique<CallBlockStatement>(next().offset);
    if (at_op("(")) parameters(node->caller);
    ExprPtr called = expression();
    if (called->kind != ExprKind::kCall) fail_at(node->offset, "expected call");
    node->call.reset(static_cast<CallExpr*>(called.release()));
    node->caller.body = last_body("endcall");
    return node;
  }

  StatementPtr filter_tag() {
    auto node = std::make_unique<FilterBlockStatement>(next().offset);
    node->filter = filters(one_filter(nullptr));
    node->body = last_body("endfilter");
    return node;
  }

  StatementPtr with_tag() {
    auto node = std::make_unique<WithStatement>(next().offset);
    while (!at(TokenKind::kBlockEnd)) {
      if (!node->targets.empty()) expect_op(",");
      node->targets.push_back(target(false));
      expect_op("=");
      node->values.push_back(expression());
    }
    node->body = last_body("endwith");
    return node;
  }

  StatementPtr generation_tag() {
    auto node = std::make_unique<ScopeStatement>(next().offset);
    node->is_function = true;
    node->body = last_body("endgeneration");
    return node;
  }

  StatementPtr autoescape_tag() {
    auto node = std::make_unique<ScopeStatement>(next().offset);
    node->autoescape = expression();
    node->body = last_body("endautoescape");
    return node;
  }

  StatementPtr block_tag() {
    auto node = std::make_unique<BlockStatement>(next().offset);
    node->name = expect(TokenKind::kName, "name").text;
    node->scoped = skip_name("scoped");
    node->required = skip_name("required");
    node->body = last_body("endblock");
    skip_name(node->name);
    for (const StatementPtr& inner : node->body) {
      if (!node->required) break;
      const bool blank = inner->kind == StatementKind::kText &&
                         static_cast<const TextStatement&>(*inner).text.find_first_not_of(
                             " \t\n\r\v\f") == std::string::npos;
      if (!blank) fail_at(inner->offset, "a required block can only contain white space");
    }
    return node;
  }

  StatementPtr print_tag() {
    auto node = std::make_unique<PrintStatement>(next().offset);
    while (!at(TokenKind::kBlockEnd)) {
      if (!node->values.empty()) expect_op(",");
      node->values.push_back(expression());
    }
    return node;
  }

  StatementPtr jump_tag() {
    const bool is_break = at_name("break");
    return std::make_unique<JumpStatement>(
        is_break ? StatementKind::kBreak : StatementKind::kContinue, next().offset);
  }

  std::unique_ptr<LoadStatement> load_tag() {
    auto node = std::make_unique<LoadStatement>(next().offset);
    node->source = expression();
    return node;
  }
  void context_clause() {
    if ((at_name("with") || at_name("without")) && is_name(ahead(), "context")) {
      next();
      next();
    }
  }

  StatementPtr include_tag() {
    auto node = load_tag();
    if (at_name("ignore") && is_name(ahead(), "missing")) {
      next();
      next();
    }
    context_clause();
    return node;
  }

  StatementPtr extends_tag() { return load_tag(); }

  StatementPtr import_tag() {
    auto node = load_tag();
    expect_name("as");
    node->targets.push_back(name_target());
    context_clause();
    return node;
  }

  StatementPtr from_tag() {
    auto node = load_tag();
    expect_name("import");
    do {
      if ((at_name("with") || at_name("without")) && is_name(ahead(), "context")) break;
      auto name = name_target();
      if (skip_name("as")) name = name_target();
      node->targets.push_back(std::move(name));
    } while (skip_op(","));
    context_clause();
    return node;
  }

  struct OpenTag {
    std::string name;
    uint32_t offset;
  };
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int max_depth_, depth_ = 0;
  std::vector<OpenTag> open_tags_;
};

}  // namespace

Body parse(std::string_view source, int max_depth) { return Parser(source, max_depth).run(); }

}  // namespace dsv3::jinja
