#include "text/jinja/resolver.h"

#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/error.h"
#include "text/jinja/functions.h"
#include "text/jinja/lexer.h"

namespace dsv3::jinja {
namespace {

// The variables of one frame, as known at one point of the source. Branches of an `if` work on
// copies, which share the slots and are merged afterwards.
class Symbols {
 public:
  explicit Symbols(const Symbols* parent) : parent_(parent), slots_(std::make_shared<Slots>()) {}

  std::optional<Variable> find(const std::string& name) const {
    int up = 0;
    for (const Symbols* s = this; s; s = s->parent_, ++up) {
      const auto found = s->refs_.find(name);
      if (found != s->refs_.end()) return Variable{up, found->second};
    }
    return std::nullopt;
  }

  void load(const std::string& name) {
    if (!find(name)) define(name, Load::kResolve);
  }

  void store(const std::string& name) {
    stores_.insert(name);
    if (refs_.count(name)) return;
    if (!alias_outer(name)) define(name, Load::kNothing);
  }

  int parameter(const std::string& name) {
    stores_.insert(name);
    return define(name, Load::kNothing);
  }

  void merge(const std::vector<Symbols>& branches) {
    std::set<std::string> stored;
    for (const Symbols& branch : branches) {
      for (const std::string& name : branch.stores_) {
        if (!stores_.count(name)) stored.insert(name);
      }
    }
    for (const Symbols& branch : branches) {
      for (const auto& [name, slot] : branch.refs_) refs_[name] = slot;
      for (const auto& [slot, load] : branch.loads_) loads_[slot] = load;
      stores_.insert(branch.stores_.begin(), branch.stores_.end());
    }
    // Where only some branches assign, the others see the value from outside.
    for (const std::string& name : stored) {
      if (!alias_outer(name)) define(name, Load::kResolve);
    }
  }

  FrameLayout layout() const {
    FrameLayout out;
    out.slots = static_cast<int>(slots_->size());
    for (const auto& [slot, load] : loads_) out.loads.push_back(load);
    return out;
  }

 private:
  using Slots = std::map<std::string, int>;

  int define(const std::string& name, Load::Kind kind, Variable outer = {}) {
    const int slot = slots_->emplace(name, static_cast<int>(slots_->size())).first->second;
    refs_[name] = slot;
    loads_[slot] = {kind, slot, kind == Load::kResolve ? name : "", outer};
    return slot;
  }

  bool alias_outer(const std::string& name) {
    std::optional<Variable> outer = parent_ ? parent_->find(name) : std::nullopt;
    if (!outer) return false;
    ++outer->up;
    define(name, Load::kAlias, *outer);
    return true;
  }

  const Symbols* parent_;
  std::shared_ptr<Slots> slots_;
  std::map<std::string, int> refs_;
  std::map<int, Load> loads_;
  std::set<std::string> stores_;
};

// Calls `f` for each expression right below `e`.
template <typename F>
void each_argument(const CallArguments& arguments, F f) {
  for (const ExprPtr& a : arguments.positional) f(*a);
  for (const auto& named : arguments.named) f(*named.second);
  if (arguments.star) f(*arguments.star);
  if (arguments.double_star) f(*arguments.double_star);
}

template <typename F>
void each_child(const Expr& e, F f) {
  const auto maybe = [&](const ExprPtr& child) {
    if (child) f(*child);
  };
  switch (e.kind) {
    case ExprKind::kConstant:
    case ExprKind::kName:
    case ExprKind::kNamespaceRef:
      return;
    case ExprKind::kList:
    case ExprKind::kTuple:
    case ExprKind::kConcat:
      for (const ExprPtr& item : static_cast<const ItemsExpr&>(e).items) f(*item);
      return;
    case ExprKind::kDict:
      for (const auto& [key, value] : static_cast<const DictExpr&>(e).items) {
        f(*key);
        f(*value);
      }
      return;
    case ExprKind::kAttribute:
      return f(*static_cast<const AttributeExpr&>(e).object);
    case ExprKind::kSubscript:
      f(*static_cast<const SubscriptExpr&>(e).object);
      return f(*static_cast<const SubscriptExpr&>(e).index);
    case ExprKind::kSlice: {
      const auto& slice = static_cast<const SliceExpr&>(e);
      maybe(slice.start);
      maybe(slice.stop);
      return maybe(slice.step);
    }
    case ExprKind::kCall:
      f(*static_cast<const CallExpr&>(e).callee);
      return each_argument(static_cast<const CallExpr&>(e).arguments, f);
    case ExprKind::kFilter:
      maybe(static_cast<const FilterExpr&>(e).input);
      return each_argument(static_cast<const FilterExpr&>(e).arguments, f);
    case ExprKind::kTest:
      f(*static_cast<const TestExpr&>(e).input);
      return each_argument(static_cast<const TestExpr&>(e).arguments, f);
    case ExprKind::kUnary:
      return f(*static_cast<const UnaryExpr&>(e).operand);
    case ExprKind::kBinary:
    case ExprKind::kLogic:
      f(*static_cast<const BinaryExpr&>(e).left);
      return f(*static_cast<const BinaryExpr&>(e).right);
    case ExprKind::kCompare:
      f(*static_cast<const CompareExpr&>(e).first);
      for (const auto& operand : static_cast<const CompareExpr&>(e).rest) f(*operand.second);
      return;
    case ExprKind::kConditional:
      f(*static_cast<const ConditionalExpr&>(e).test);
      f(*static_cast<const ConditionalExpr&>(e).yes);
      return maybe(static_cast<const ConditionalExpr&>(e).no);
  }
}

// Which of some special names a body reads before it assigns them.
class UndeclaredFinder {
 public:
  explicit UndeclaredFinder(std::set<std::string> names) : names_(std::move(names)) {}

  std::set<std::string> in(const Body& body) {
    visit(body);
    return std::move(found_);
  }

 private:
  void visit(const Body& body) {
    for (const StatementPtr& s : body) visit(*s);
  }
  void visit(const ExprPtr& e) {
    if (e) visit(*e);
  }
  void visit(const Expr& e) {
    if (e.kind == ExprKind::kName) {
      const std::string& name = static_cast<const NameExpr&>(e).name;
      if (names_.count(name)) found_.insert(name);
    }
    each_child(e, [this](const Expr& child) { visit(child); });
  }
  void assign(const Expr& target) {
    if (target.kind == ExprKind::kName) names_.erase(static_cast<const NameExpr&>(target).name);
    each_child(target, [this](const Expr& child) { assign(child); });
  }
  void visit(const MacroBody& macro) {
    for (const auto& p : macro.parameters) assign(*p);
    for (const ExprPtr& d : macro.defaults) visit(d);
    visit(macro.body);
  }

  void visit(const Statement& s) {
    switch (s.kind) {
      case StatementKind::kPrint:
        for (const ExprPtr& e : static_cast<const PrintStatement&>(s).values) visit(e);
        return;
      case StatementKind::kIf: {
        const auto& node = static_cast<const IfStatement&>(s);
        for (const auto& branch : node.branches) {
          visit(branch.test);
          visit(branch.body);
        }
        return visit(node.otherwise);
      }
      case StatementKind::kFor: {
        const auto& node = static_cast<const ForStatement&>(s);
        assign(*node.target);
        visit(node.iterable);
        visit(node.body);
        visit(node.otherwise);
        return visit(node.test);
      }
      case StatementKind::kSet:
        assign(*static_cast<const SetStatement&>(s).target);
        return visit(static_cast<const SetStatement&>(s).value);
      case StatementKind::kSetBlock:
        assign(*static_cast<const SetBlockStatement&>(s).target);
        visit(static_cast<const SetBlockStatement&>(s).filter);
        return visit(static_cast<const SetBlockStatement&>(s).body);
      case StatementKind::kMacro:
        return visit(static_cast<const MacroStatement&>(s).macro);
      case StatementKind::kCallBlock:
        visit(*static_cast<const CallBlockStatement&>(s).call);
        return visit(static_cast<const CallBlockStatement&>(s).caller);
      case StatementKind::kFilterBlock:
        visit(static_cast<const FilterBlockStatement&>(s).body);
        return visit(static_cast<const FilterBlockStatement&>(s).filter);
      case StatementKind::kWith: {
        const auto& node = static_cast<const WithStatement&>(s);
        for (const ExprPtr& t : node.targets) assign(*t);
        for (const ExprPtr& v : node.values) visit(v);
        return visit(node.body);
      }
      case StatementKind::kScope:
        visit(static_cast<const ScopeStatement&>(s).autoescape);
        return visit(static_cast<const ScopeStatement&>(s).body);
      case StatementKind::kLoad:
        return visit(static_cast<const LoadStatement&>(s).source);
      case StatementKind::kText:
      case StatementKind::kBlock:
      case StatementKind::kBreak:
      case StatementKind::kContinue:
        return;
    }
  }

  std::set<std::string> names_, found_;
};

// What a statement does to the variables of the frame it stands in. Bodies with frames of their own
// are not entered.
class Analyzer {
 public:
  static void visit(const Body& body, Symbols& symbols) {
    for (const StatementPtr& s : body) visit(*s, symbols);
  }
  static void visit(const ExprPtr& e, Symbols& symbols) {
    if (e) visit(*e, symbols);
  }
  static void visit(const Expr& e, Symbols& symbols) {
    if (e.kind == ExprKind::kName) symbols.load(static_cast<const NameExpr&>(e).name);
    each_child(e, [&](const Expr& child) { visit(child, symbols); });
  }
  static void assign(const Expr& target, Symbols& symbols) {
    if (target.kind == ExprKind::kName) {
      symbols.store(static_cast<const NameExpr&>(target).name);
    } else if (target.kind == ExprKind::kNamespaceRef) {
      symbols.load(static_cast<const NamespaceRefExpr&>(target).name);
    }
    each_child(target, [&](const Expr& child) { assign(child, symbols); });
  }
  static void parameters(const Expr& target, Symbols& symbols) {
    if (target.kind == ExprKind::kName) {
      symbols.parameter(static_cast<const NameExpr&>(target).name);
    }
    each_child(target, [&](const Expr& child) { parameters(child, symbols); });
  }

 private:
  static void visit(const Statement& s, Symbols& symbols) {
    switch (s.kind) {
      case StatementKind::kPrint:
        for (const ExprPtr& e : static_cast<const PrintStatement&>(s).values) visit(e, symbols);
        return;
      case StatementKind::kIf:
        return visit_if(static_cast<const IfStatement&>(s), symbols);
      case StatementKind::kFor:
        return visit(static_cast<const ForStatement&>(s).iterable, symbols);
      case StatementKind::kSet:
        visit(static_cast<const SetStatement&>(s).value, symbols);
        return assign(*static_cast<const SetStatement&>(s).target, symbols);
      case StatementKind::kSetBlock:
        return assign(*static_cast<const SetBlockStatement&>(s).target, symbols);
      case StatementKind::kMacro:
        return symbols.store(static_cast<const MacroStatement&>(s).target->name);
      case StatementKind::kCallBlock:
        return visit(*static_cast<const CallBlockStatement&>(s).call, symbols);
      case StatementKind::kFilterBlock:
        return visit(static_cast<const FilterBlockStatement&>(s).filter, symbols);
      case StatementKind::kWith:
        for (const ExprPtr& v : static_cast<const WithStatement&>(s).values) visit(v, symbols);
        return;
      case StatementKind::kLoad:
        visit(static_cast<const LoadStatement&>(s).source, symbols);
        for (const auto& t : static_cast<const LoadStatement&>(s).targets) symbols.store(t->name);
        return;
      case StatementKind::kText:
      case StatementKind::kScope:
      case StatementKind::kBlock:
      case StatementKind::kBreak:
      case StatementKind::kContinue:
        return;
    }
  }

  static void visit_if(const IfStatement& node, Symbols& symbols) {
    visit(node.branches[0].test, symbols);
    std::vector<Symbols> branches(3, symbols);
    visit(node.branches[0].body, branches[0]);
    for (size_t i = 1; i < node.branches.size(); ++i) {
      visit(node.branches[i].test, branches[1]);
      std::vector<Symbols> body(1, branches[1]);
      visit(node.branches[i].body, body[0]);
      branches[1].merge(body);
    }
    visit(node.otherwise, branches[2]);
    symbols.merge(branches);
  }
};

// Where a statement stands.
struct Place {
  Symbols* symbols;
  bool top_level;   // assignments are seen by blocks
  bool soft;        // in an `if`: unknown filters fail only when reached
  bool in_loop;     // break and continue have a loop to work on
  bool below_loop;  // somewhere inside of a for: `loop` cannot be assigned

  Place inner(Symbols* of_frame) const { return {of_frame, false, false, in_loop, below_loop}; }
  Place function(Symbols* of_frame) const { return {of_frame, false, false, false, below_loop}; }
  Place softened() const {
    Place p = *this;
    p.soft = true;
    return p;
  }
};

class Binder {
 public:
  void bind(Body& body, const Place& place) {
    for (const StatementPtr& s : body) bind(*s, place);
  }

 private:
  void bind(const ExprPtr& e, const Place& place) {
    if (e) bind(*e, place);
  }

  static Variable variable(const std::string& name, const Place& place) {
    place.symbols->load(name);  // the analysis has seen it, except in filters of a set block
    return *place.symbols->find(name);
  }

  void bind(Expr& e, const Place& place) {
    if (e.kind == ExprKind::kName) {
      auto& name = static_cast<NameExpr&>(e);
      name.variable = variable(name.name, place);
    } else if (e.kind == ExprKind::kFilter) {
      auto& filter = static_cast<FilterExpr&>(e);
      filter.function = find_filter(filter.name);
      if (!filter.function && !place.soft) {
        throw SyntaxFailure{fmt::format("No filter named '{}'.", filter.name), e.offset};
      }
    } else if (e.kind == ExprKind::kTest) {
      auto& test = static_cast<TestExpr&>(e);
      test.function = find_test(test.name);
      if (!test.function && !place.soft) {
        throw SyntaxFailure{fmt::format("No test named '{}'.", test.name), e.offset};
      }
    }
    const Place below = e.kind == ExprKind::kConditional ? place.softened() : place;
    each_child(e, [&](const Expr& child) { bind(const_cast<Expr&>(child), below); });
  }

  void bind_target(Expr& target, const Place& place) {
    if (target.kind == ExprKind::kName) {
      auto& name = static_cast<NameExpr&>(target);
      if (place.below_loop && name.name == "loop") {
        throw SyntaxFailure{"can't assign to the special variable 'loop'", target.offset};
      }
      name.variable = variable(name.name, place);
    } else if (target.kind == ExprKind::kNamespaceRef) {
      auto& ref = static_cast<NamespaceRefExpr&>(target);
      ref.variable = variable(ref.name, place);
    }
    each_child(target, [&](const Expr& child) { bind_target(const_cast<Expr&>(child), place); });
  }

  void bind(Statement& s, const Place& place) {
    switch (s.kind) {
      case StatementKind::kText:
        return;
      case StatementKind::kPrint:
        for (const ExprPtr& e : static_cast<PrintStatement&>(s).values) bind(e, place);
        return;
      case StatementKind::kIf: {
        auto& node = static_cast<IfStatement&>(s);
        for (auto& branch : node.branches) {
          bind(branch.test, place.softened());
          bind(branch.body, place.softened());
        }
        return bind(node.otherwise, place.softened());
      }
      case StatementKind::kFor:
        return bind_for(static_cast<ForStatement&>(s), place);
      case StatementKind::kSet: {
        auto& node = static_cast<SetStatement&>(s);
        node.exports = place.top_level;
        bind(node.value, place);
        return bind_target(*node.target, place);
      }
      case StatementKind::kSetBlock: {
        auto& node = static_cast<SetBlockStatement&>(s);
        node.exports = place.top_level;
        bind_target(*node.target, place);
        Symbols symbols(place.symbols);
        Analyzer::visit(node.body, symbols);
        bind(node.body, place.inner(&symbols));
        bind(node.filter, place.inner(&symbols));
        node.frame = symbols.layout();
        return;
      }
      case StatementKind::kMacro: {
        auto& node = static_cast<MacroStatement&>(s);
        node.exports = place.top_level;
        node.target->variable = variable(node.target->name, place);
        return bind_macro(node.macro, s.offset, place);
      }
      case StatementKind::kCallBlock: {
        auto& node = static_cast<CallBlockStatement&>(s);
        bind_macro(node.caller, s.offset, place);
        return bind(*node.call, place);
      }
      case StatementKind::kFilterBlock: {
        auto& node = static_cast<FilterBlockStatement&>(s);
        Symbols symbols(place.symbols);
        Analyzer::visit(node.body, symbols);
        Analyzer::visit(node.filter, symbols);
        bind(node.body, place.inner(&symbols));
        bind(node.filter, place.inner(&symbols));
        node.frame = symbols.layout();
        return;
      }
      case StatementKind::kWith: {
        auto& node = static_cast<WithStatement&>(s);
        for (const ExprPtr& v : node.values) bind(v, place);
        Symbols symbols(place.symbols);
        for (const ExprPtr& t : node.targets) Analyzer::parameters(*t, symbols);
        Analyzer::visit(node.body, symbols);
        Place inside = place.inner(&symbols);
        inside.below_loop = false;  // `loop` may be bound here
        for (const ExprPtr& t : node.targets) bind_target(*t, inside);
        bind(node.body, place.inner(&symbols));
        node.frame = symbols.layout();
        return;
      }
      case StatementKind::kScope: {
        auto& node = static_cast<ScopeStatement&>(s);
        Symbols symbols(place.symbols);
        Analyzer::visit(node.autoescape, symbols);
        Analyzer::visit(node.body, symbols);
        const Place inside = node.is_function ? place.function(&symbols) : place.inner(&symbols);
        bind(node.autoescape, inside);
        bind(node.body, inside);
        node.frame = symbols.layout();
        return;
      }
      case StatementKind::kBlock:
        return bind_block(static_cast<BlockStatement&>(s), place);
      case StatementKind::kBreak:
      case StatementKind::kContinue:
        if (!place.in_loop) throw SyntaxFailure{"break or continue outside of a loop", s.offset};
        return;
      case StatementKind::kLoad: {
        auto& node = static_cast<LoadStatement&>(s);
        bind(node.source, place);
        for (const auto& t : node.targets) t->variable = variable(t->name, place);
        return;
      }
    }
  }

  void bind_for(ForStatement& node, const Place& place) {
    bind(node.iterable, place);
    Symbols symbols(place.symbols);
    node.loop_slot = symbols.parameter("loop");
    Analyzer::parameters(*node.target, symbols);
    Analyzer::visit(node.body, symbols);
    Place inside = place.inner(&symbols);
    inside.in_loop = inside.below_loop = true;
    bind_target(*node.target, inside);
    bind(node.body, inside);
    node.frame = symbols.layout();

    if (node.test) {
      Symbols test_symbols(place.symbols);
      Analyzer::parameters(*node.test_target, test_symbols);
      Analyzer::visit(node.test, test_symbols);
      const Place of_test = place.inner(&test_symbols);
      bind_target(*node.test_target, of_test);
      bind(node.test, of_test);
      node.test_frame = test_symbols.layout();
    }

    Symbols else_symbols(place.symbols);
    Analyzer::visit(node.otherwise, else_symbols);
    Place of_else = place.inner(&else_symbols);
    of_else.below_loop = true;
    of_else.in_loop = place.in_loop && !node.recursive;
    bind(node.otherwise, of_else);
    node.else_frame = else_symbols.layout();
  }

  void bind_macro(MacroBody& macro, uint32_t offset, const Place& place) {
    Symbols symbols(place.symbols);
    for (const auto& p : macro.parameters) symbols.parameter(p->name);
    for (const ExprPtr& d : macro.defaults) Analyzer::visit(d, symbols);
    Analyzer::visit(macro.body, symbols);

    const std::set<std::string> used =
        UndeclaredFinder({"caller", "kwargs", "varargs"}).in(macro.body);
    const auto special = [&](const char* name) {
      if (!used.count(name)) return -1;
      for (size_t i = 0; i < macro.parameters.size(); ++i) {
        if (macro.parameters[i]->name != name) continue;
        const bool has_default = i + macro.defaults.size() >= macro.parameters.size();
        if (std::string_view(name) == "caller" && !has_default) {
          throw SyntaxFailure{"the special argument 'caller' needs a default", offset};
        }
        return -1;
      }
      return symbols.parameter(name);
    };
    macro.caller_slot = special("caller");
    macro.kwargs_slot = special("kwargs");
    macro.varargs_slot = special("varargs");

    const Place inside = place.function(&symbols);
    for (const auto& p : macro.parameters) p->variable = variable(p->name, inside);
    for (const ExprPtr& d : macro.defaults) bind(d, inside);
    bind(macro.body, inside);
    macro.frame = symbols.layout();
  }

  void bind_block(BlockStatement& node, const Place& place) {
    if (!blocks_.insert(node.name).second) {
      throw SyntaxFailure{fmt::format("block '{}' defined twice", node.name), node.offset};
    }
    Symbols symbols(node.scoped ? place.symbols : nullptr);
    Analyzer::visit(node.body, symbols);
    Place inside = place.function(&symbols);
    inside.below_loop = false;
    bind(node.body, inside);
    node.frame = symbols.layout();
  }

  std::set<std::string> blocks_;
};

}  // namespace

FrameLayout resolve(Body& body, int& self_slot) {
  Symbols symbols(nullptr);
  self_slot = UndeclaredFinder({"self"}).in(body).empty() ? -1 : symbols.parameter("self");
  Analyzer::visit(body, symbols);
  Binder().bind(body, {&symbols, true, false, false, false});
  return symbols.layout();
}

}  // namespace dsv3::jinja
