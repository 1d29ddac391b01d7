#include "text/jinja/expression_parser.h"

#include <algorithm>

namespace dsv3::jinja {

ExprPtr ExpressionParser::under(Expr& parent, ExprPtr child) {
  if (child) parent.height = std::max(parent.height, child->height + 1);
  if (parent.height > 4 * max_depth()) fail_at(parent.offset, "expression is too long");
  return child;
}

ExprPtr ExpressionParser::expression(bool conditional) {
  return conditional ? this->conditional() : logic_or();
}

ExprPtr ExpressionParser::conditional() {
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

ExprPtr ExpressionParser::binary(ExprKind kind, Operator op, uint32_t where, ExprPtr left,
                                 ExprPtr right) {
  auto node = std::make_unique<BinaryExpr>(kind, where, op);
  node->left = under(*node, std::move(left));
  node->right = under(*node, std::move(right));
  return node;
}

ExprPtr ExpressionParser::logic_or() {
  ExprPtr left = logic_and();
  while (at_name("or")) {
    const uint32_t where = next().offset;
    left = binary(ExprKind::kLogic, Operator::kOr, where, std::move(left), logic_and());
  }
  return left;
}

ExprPtr ExpressionParser::logic_and() {
  ExprPtr left = logic_not();
  while (at_name("and")) {
    const uint32_t where = next().offset;
    left = binary(ExprKind::kLogic, Operator::kAnd, where, std::move(left), logic_not());
  }
  return left;
}

ExprPtr ExpressionParser::logic_not() {
  if (!at_name("not")) return comparison();
  const Nesting nesting(*this);
  auto node = std::make_unique<UnaryExpr>(next().offset, Operator::kNot);
  node->operand = under(*node, logic_not());
  return node;
}

std::optional<Operator> ExpressionParser::comparison_operator() {
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

ExprPtr ExpressionParser::comparison() {
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

template <typename Operand>
ExprPtr ExpressionParser::left_to_right(
    std::initializer_list<std::pair<std::string_view, Operator>> operators, Operand operand) {
  ExprPtr left = operand();
  for (;;) {
    const auto* found = operators.begin();
    while (found != operators.end() && !at_op(found->first)) ++found;
    if (found == operators.end()) return left;
    const uint32_t where = next().offset;
    left = binary(ExprKind::kBinary, found->second, where, std::move(left), operand());
  }
}

ExprPtr ExpressionParser::sum() {
  return left_to_right({{"+", Operator::kAdd}, {"-", Operator::kSubtract}},
                       [this] { return concatenation(); });
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr first = product();
  if (!at_op("~")) return first;
  auto node = std::make_unique<ItemsExpr>(ExprKind::kConcat, offset());
  node->items.push_back(under(*node, std::move(first)));
  while (skip_op("~")) node->items.push_back(under(*node, product()));
  return node;
}

ExprPtr ExpressionParser::product() {
  return left_to_right({{"*", Operator::kMultiply},
                        {"/", Operator::kDivide},
                        {"//", Operator::kFloorDivide},
                        {"%", Operator::kModulo}},
                       [this] { return power(); });
}

ExprPtr ExpressionParser::power() {
  return left_to_right({{"**", Operator::kPower}}, [this] { return unary(true); });
}

ExprPtr ExpressionParser::unary(bool with_filters) {
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

ExprPtr ExpressionParser::primary() {
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

ExprPtr ExpressionParser::name_or_constant() {
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

bool ExpressionParser::tuple_ends(std::string_view end) const {
  return at(TokenKind::kPrintEnd) || at(TokenKind::kBlockEnd) || at_op(")") ||
         (!end.empty() && at_name(end));
}

ExprPtr ExpressionParser::tuple(const TupleRules& rules) {
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

ExprPtr ExpressionParser::list() {
  auto node = std::make_unique<ItemsExpr>(ExprKind::kList, next().offset);
  while (!at_op("]")) {
    if (!node->items.empty()) expect_op(",");
    if (at_op("]")) break;
    node->items.push_back(under(*node, expression()));
  }
  next();
  return node;
}

ExprPtr ExpressionParser::dict() {
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

ExprPtr ExpressionParser::postfix(ExprPtr node) {
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

ExprPtr ExpressionParser::filters_and_tests(ExprPtr node) {
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

ExprPtr ExpressionParser::attribute(ExprPtr object) {
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

ExprPtr ExpressionParser::subscript(ExprPtr object) {
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

ExprPtr ExpressionParser::index() {
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

void ExpressionParser::call_arguments(Expr& node, CallArguments& out) {
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

ExprPtr ExpressionParser::call(ExprPtr callee) {
  auto node = std::make_unique<CallExpr>(offset());
  node->callee = under(*node, std::move(callee));
  call_arguments(*node, node->arguments);
  return node;
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect(TokenKind::kName, "name").text;
  while (skip_op(".")) name += "." + expect(TokenKind::kName, "name").text;
  return name;
}

ExprPtr ExpressionParser::one_filter(ExprPtr input) {
  auto node = std::make_unique<FilterExpr>(offset());
  node->name = dotted_name();
  node->input = under(*node, std::move(input));
  if (at_op("(")) call_arguments(*node, node->arguments);
  return node;
}

ExprPtr ExpressionParser::filters(ExprPtr node) {
  while (skip_op("|")) node = one_filter(std::move(node));
  return node;
}

ExprPtr ExpressionParser::test(ExprPtr input) {
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

bool ExpressionParser::starts_test_argument() const {
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

ExprPtr ExpressionParser::target_item(bool namespaces) {
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

void ExpressionParser::check_target(const Expr& target) {
  if (target.kind == ExprKind::kName || target.kind == ExprKind::kNamespaceRef) return;
  if (target.kind != ExprKind::kTuple) fail_at(target.offset, "can't assign to this");
  for (const ExprPtr& item : static_cast<const ItemsExpr&>(target).items) check_target(*item);
}

ExprPtr ExpressionParser::target(bool namespaces, std::string_view end) {
  ExprPtr node = tuple({.targets = true, .namespaces = namespaces, .end = end});
  check_target(*node);
  return node;
}

std::unique_ptr<NameExpr> ExpressionParser::name_target() {
  const Token& token = expect(TokenKind::kName, "name");
  for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
    if (token.text == constant) fail_at(token.offset, "can't assign to '{}'", token.text);
  }
  return std::make_unique<NameExpr>(token.offset, token.text);
}

ExprPtr ExpressionParser::copy_target(const Expr& target) {
  if (target.kind == ExprKind::kName) {
    return std::make_unique<NameExpr>(target.offset, static_cast<const NameExpr&>(target).name);
  }
  auto copy = std::make_unique<ItemsExpr>(ExprKind::kTuple, target.offset);
  for (const ExprPtr& item : static_cast<const ItemsExpr&>(target).items) {
    copy->items.push_back(copy_target(*item));
  }
  return copy;
}

}  // namespace dsv3::jinja
