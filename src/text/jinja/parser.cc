#include "text/jinja/parser.h"

#include "text/jinja/expression_parser.h"

namespace dsv3::jinja {
namespace {

// The statements; one function for each tag.
class Parser : ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body run() { return statements({}); }

 private:
  using Names = std::vector<std::string_view>;

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

  void expect_block_end() { expect(TokenKind::kBlockEnd, "end of statement block"); }

  static std::string quoted(const Names& names) {
    std::string out;
    for (const std::string_view name : names) {
      out += fmt::format("{}'{}'", out.empty() ? "" : " or ", name);
    }
    return out;
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
  std::vector<OpenTag> open_tags_;
};

}  // namespace

Body parse(std::string_view source, int max_depth) { return Parser(source, max_depth).run(); }

}  // namespace dsv3::jinja
