#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace dsv3::jinja {

/// Parses expressions by recursive descent; one function for each level of precedence, loosest
/// first. Two of Jinja's levels surprise: `~` binds tighter than `+`, and `**` groups to the left.
/// The functions throw SyntaxFailure.
class ExpressionParser : protected TokenStream {
 protected:
  using TokenStream::TokenStream;

  struct TupleRules {
    bool conditional = true;      // an inline if is part of an item
    bool targets = false;         // only what can be assigned to
    bool namespaces = false;      // with `targets`: ns.name too
    bool in_parentheses = false;  // an empty one is allowed
    std::string_view end = {};    // a name that ends it
  };

  ExprPtr expression(bool conditional = true);
  /// One expression, or several with commas: a tuple.
  ExprPtr tuple(const TupleRules& rules);
  /// A name and its arguments; filters() goes on with those after a `|`.
  ExprPtr one_filter(ExprPtr input);
  ExprPtr filters(ExprPtr node);

  /// What can be assigned to: names, tuples of them, and with `namespaces` ns.name.
  ExprPtr target(bool namespaces, std::string_view end = {});
  std::unique_ptr<NameExpr> name_target();
  static ExprPtr copy_target(const Expr& target);

 private:
  /// Puts `child` below `parent`. Long chains ("a + b + c ...") nest without recursion here, but
  /// are evaluated by recursion later.
  ExprPtr under(Expr& parent, ExprPtr child);
  ExprPtr binary(ExprKind kind, Operator op, uint32_t where, ExprPtr left, ExprPtr right);

  ExprPtr conditional();
  ExprPtr logic_or();
  ExprPtr logic_and();
  ExprPtr logic_not();
  ExprPtr comparison();
  std::optional<Operator> comparison_operator();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters);
  ExprPtr primary();

  /// One level of binary operators that group to the left.
  template <typename Operand>
  ExprPtr left_to_right(std::initializer_list<std::pair<std::string_view, Operator>> operators,
                        Operand operand);

  ExprPtr name_or_constant();
  bool tuple_ends(std::string_view end) const;
  ExprPtr list();
  ExprPtr dict();

  ExprPtr postfix(ExprPtr node);
  ExprPtr filters_and_tests(ExprPtr node);
  ExprPtr attribute(ExprPtr object);
  ExprPtr subscript(ExprPtr object);
  ExprPtr index();
  ExprPtr call(ExprPtr callee);
  void call_arguments(Expr& node, CallArguments& out);
  ExprPtr test(ExprPtr input);
  bool starts_test_argument() const;
  std::string dotted_name();

  ExprPtr target_item(bool namespaces);
  void check_target(const Expr& target);
};

}  // namespace dsv3::jinja
