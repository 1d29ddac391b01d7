// Filters on lists and other iterables, and find_filter.

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "text/jinja/functions.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/text.h"

namespace dsv3::jinja {
namespace {

Value ignore_case(Runtime& runtime, const Value& v) {
  return v.is_string() ? runtime.string(to_lower(v.text())) : v;
}

// The argument `attribute` of many filters: "a.b.0" goes down through items.
class AttributePath {
 public:
  AttributePath(Runtime& runtime, const Value& attribute, Value otherwise = {})
      : runtime_(runtime), otherwise_(std::move(otherwise)) {
    if (attribute.is_missing() || attribute.is_none()) return;
    if (!attribute.is_string()) {
      parts_.push_back(attribute);
      return;
    }
    for (const std::string_view part : split(attribute.text(), ".", -1, false)) {
      int64_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      const bool is_index =
          error == std::errc() && end == part.data() + part.size() && part[0] != '-';
      parts_.push_back(is_index ? Value(index) : runtime.string(part));
    }
  }

  Value of(const Value& item) const {
    Value v = item;
    for (const Value& part : parts_) {
      v = get_item(runtime_, v, part);
      const bool replace = v.is_undefined() && !otherwise_.is_missing() && !otherwise_.is_none();
      if (replace) v = otherwise_;
    }
    return v;
  }

 private:
  Runtime& runtime_;
  std::vector<Value> parts_;
  Value otherwise_;
};

// Stable; `reverse` keeps the order of equal items, as Python's sorted does.
template <typename T, typename Key>
void sort_by(Runtime& runtime, std::vector<T>& items, bool reverse, Key key) {
  std::vector<std::pair<Value, T>> keyed;
  keyed.reserve(items.size());
  for (T& item : items) keyed.emplace_back(key(item), std::move(item));
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(runtime, b.first, a.first) : less(runtime, a.first, b.first);
  });
  for (size_t i = 0; i < items.size(); ++i) items[i] = std::move(keyed[i].second);
}

Value sort(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool exact = truth(args[1]);
  std::vector<AttributePath> paths;
  if (args[2].is_string()) {
    for (const std::string_view path : split(args[2].text(), ",", -1, false)) {
      paths.emplace_back(runtime, runtime.string(path));
    }
  } else {
    paths.emplace_back(runtime, args[2]);
  }
  std::vector<Value> items = Items(runtime, input).copy();
  sort_by(runtime, items, truth(args[0]), [&](const Value& item) {
    std::vector<Value> key;
    for (const AttributePath& path : paths) {
      const Value v = path.of(item);
      key.push_back(exact ? v : ignore_case(runtime, v));
    }
    return runtime.list(std::move(key));
  });
  return runtime.list(std::move(items));
}

Value dictsort(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  require_defined(input);
  if (!input.is(Kind::kDict)) raise("dictsort needs a mapping, not {}", type_name(input));
  const std::string by = args[1].is_missing() ? "key" : require_string(args[1], "by");
  if (by != "key" && by != "value") raise("You can only sort by either \"key\" or \"value\"");
  std::vector<Value> items;
  for (const auto& [key, value] : input.dict().items) items.push_back(runtime.tuple({key, value}));
  sort_by(runtime, items, truth(args[2]), [&](const Value& item) {
    const Value& v = item.sequence().items[by == "key" ? 0 : 1];
    return truth(args[0]) ? v : ignore_case(runtime, v);
  });
  return runtime.list(std::move(items));
}

Value unique(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("unique", arguments, {"case_sensitive", "attribute"});
  return make_generator(runtime, [&](std::vector<Value>& out) {
    const AttributePath path(runtime, args[1]);
    Ref<Dict> seen(new Dict(&runtime.meter));
    for (const Value& item : Items(runtime, input)) {
      Value key = path.of(item);
      if (!truth(args[0])) key = ignore_case(runtime, key);
      if (seen->find(key, runtime.meter)) continue;
      seen->set(key, Value::none(), runtime.meter);
      out.push_back(item);
    }
  });
}

Value groupby(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args =
      bind_arguments("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const AttributePath path(runtime, args[0], args[1]);
  const auto key_of = [&](const Value& item) {
    const Value v = path.of(item);
    return truth(args[2]) ? v : ignore_case(runtime, v);
  };
  std::vector<Value> items = Items(runtime, input).copy();
  sort_by(runtime, items, false, key_of);
  std::vector<Value> groups;
  for (size_t begin = 0; begin < items.size();) {
    const Value key = key_of(items[begin]);
    size_t end = begin + 1;
    while (end < items.size() && equal(key, key_of(items[end]), runtime.meter)) ++end;
    Value members = runtime.list({items.begin() + static_cast<ptrdiff_t>(begin),
                                  items.begin() + static_cast<ptrdiff_t>(end)});
    // The key as the first member has it, not in lower case.
    Ref<Sequence> group(new Sequence(&runtime.meter, {path.of(items[begin]), std::move(members)}));
    group->group = true;
    groups.emplace_back(Kind::kTuple, group.get());
    begin = end;
  }
  return runtime.list(std::move(groups));
}

template <bool maximum>
Value extreme(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args =
      bind_arguments(maximum ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const AttributePath path(runtime, args[1]);
  const Items items(runtime, input);
  if (items.size() == 0) return runtime.undefined("No aggregated item, sequence was empty.");
  const auto key_of = [&](const Value& item) {
    const Value v = path.of(item);
    return truth(args[0]) ? v : ignore_case(runtime, v);
  };
  Value best = items[0], best_key = key_of(best);
  for (size_t i = 1; i < items.size(); ++i) {
    Value key = key_of(items[i]);
    const bool better = maximum ? less(runtime, best_key, key) : less(runtime, key, best_key);
    if (!better) continue;
    best = items[i];
    best_key = std::move(key);
  }
  return best;
}

Value sum(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("sum", arguments, {"attribute", "start"});
  const AttributePath path(runtime, args[0]);
  Value total = args[1].is_missing() ? Value(int64_t{0}) : args[1];
  if (total.is_string()) raise("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : Items(runtime, input)) {
    total = binary_operation(runtime, Operator::kAdd, total, path.of(item));
  }
  return total;
}

Value length(Runtime&, const Value& input, Arguments& arguments) {
  bind_arguments("length", arguments, {});
  const int64_t n = length_of(input);
  if (n < 0) raise("object of type '{}' has no len()", type_name(input));
  return Value(n);
}

Value first(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("first", arguments, {});
  Value out;
  if (auto* iterator = input.native_as<Iterator>()) {
    iterator->take(out);
  } else {
    const Items items(runtime, input);
    if (items.size() > 0) out = items[0];
  }
  return out.is_missing() ? runtime.undefined("No first item, sequence was empty.") : out;
}

bool is_reversible(const Value& v) {
  return is_iterable(v) && !v.native_as<Iterator>() && !v.is_undefined();
}

Value last(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("last", arguments, {});
  // An undefined value has a length and items, and so can be reversed, as far as Python knows.
  if (!is_reversible(input) && !input.is_undefined())
    raise("'{}' object is not reversible", type_name(input));
  const Items items(runtime, input);
  if (items.size() == 0) return runtime.undefined("No last item, sequence was empty.");
  return items[items.size() - 1];
}

std::string_view reversed_type(const Value& v) {
  if (v.is(Kind::kList)) return "list_reverseiterator";
  if (v.is(Kind::kDict)) return "dict_reversekeyiterator";
  if (v.native_as<Range>()) return "range_iterator";
  const auto* view = v.native_as<DictView>();
  return view ? view->reversed_type() : "reversed";
}

Value reverse(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("reverse", arguments, {});
  std::vector<Value> items = Items(runtime, input).copy();
  std::reverse(items.begin(), items.end());
  if (input.is_string()) {
    std::string out;
    for (const Value& c : items) out += c.text();
    return runtime.string(std::move(out), input.string().markup);
  }
  if (!is_reversible(input) && !input.is_undefined()) return runtime.list(std::move(items));
  return make_object<Iterator>(runtime.meter, reversed_type(input), std::move(items));
}

Value list(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("list", arguments, {});
  return runtime.list(Items(runtime, input).copy());
}

Value join(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("join", arguments, {"d", "attribute"});
  const AttributePath path(runtime, args[1]);
  const std::string separator = args[0].is_missing() ? "" : to_text(runtime, args[0]);
  std::string out;
  bool is_first = true;
  for (const Value& item : Items(runtime, input)) {
    const Value v = path.of(item);
    const std::string text = to_text(runtime, v);
    runtime.meter.check_string(out.size() + separator.size() + text.size());
    runtime.meter.step();
    runtime.meter.step_text(separator.size() + text.size());
    if (!is_first) out += separator;
    is_first = false;
    out += text;
  }
  return runtime.string(std::move(out));
}

Value default_filter(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("default", arguments, {"default_value", "boolean"});
  if (!input.is_undefined() && !(truth(args[1]) && !truth(input))) return input;
  return args[0].is_missing() ? runtime.string("") : args[0];
}

Value items_filter(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("items", arguments, {});
  return make_generator(runtime, [&](std::vector<Value>& out) {
    if (input.is_undefined()) return;
    if (!input.is(Kind::kDict)) raise("Can only get item pairs from a mapping.");
    for (const auto& [key, value] : input.dict().items) out.push_back(runtime.tuple({key, value}));
  });
}

Value batch(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("batch", arguments, {"linecount", "fill_with"}, 1);
  return make_generator(runtime, [&](std::vector<Value>& out) {
    std::vector<Value> row;
    for (const Value& item : Items(runtime, input)) {
      if (equal(Value(static_cast<int64_t>(row.size())), args[0], runtime.meter)) {
        out.push_back(runtime.list(std::exchange(row, {})));
      }
      row.push_back(item);
    }
    if (row.empty()) return;
    if (!args[1].is_missing() && !args[1].is_none()) {
      const int64_t width = require_integer(args[0], "linecount");
      if (width > 0) runtime.meter.check_items(static_cast<size_t>(width));
      while (static_cast<int64_t>(row.size()) < width) row.push_back(args[1]);
    }
    out.push_back(runtime.list(std::move(row)));
  });
}

Value slice(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("slice", arguments, {"slices", "fill_with"}, 1);
  return make_generator(runtime, [&](std::vector<Value>& out) {
    const Items items(runtime, input);
    const int64_t slices = require_integer(args[0], "slices");
    if (slices == 0) raise("integer modulo by zero");
    if (slices < 0) return;
    const auto n = static_cast<size_t>(slices);
    runtime.meter.check_items(n);
    size_t at = 0;
    for (size_t i = 0; i < n; ++i) {
      const bool extra = i < items.size() % n;
      const size_t size = items.size() / n + extra;
      std::vector<Value> part(items.begin() + at, items.begin() + at + size);
      at += size;
      if (!extra && !args[1].is_missing() && !args[1].is_none()) part.push_back(args[1]);
      out.push_back(runtime.list(std::move(part)));
    }
  });
}

Value attr(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("attr", arguments, {"name"}, 1);
  const std::string& name = require_string(args[0], "attribute name");
  if (!input.is(Kind::kDict)) return get_attribute(runtime, input, name);
  // Attributes alone: no fallback to the items of a dictionary.
  const Value method = find_method(runtime, input, name);
  return method.is_missing() ? runtime.undefined(fmt::format("'dict object' has no attribute {}",
                                                             repr_string(name)))
                             : method;
}

Value map(Runtime& runtime, const Value& input, Arguments& arguments) {
  return make_generator(runtime, [&](std::vector<Value>& out) {
    if (!truth(input)) return;
    if (arguments.positional.empty()) {
      const auto args = bind_arguments("map", arguments, {"attribute", "default"});
      if (args[0].is_missing()) raise("map requires a filter argument");
      const AttributePath path(runtime, args[0], args[1]);
      for (const Value& item : Items(runtime, input)) out.push_back(path.of(item));
      return;
    }
    const std::string& name = require_string(arguments.positional[0], "name of a filter");
    const FilterFunction filter = find_filter(name);
    Arguments rest = arguments;
    rest.positional.erase(rest.positional.begin());
    const Runtime::Depth depth(runtime);  // map('map', 'map', ...)
    for (const Value& item : Items(runtime, input)) {
      if (!filter) raise("No filter named '{}'.", name);
      Arguments of_call = rest;
      out.push_back(filter(runtime, item, of_call));
    }
  });
}

// select, reject, and their siblings that look at an attribute.
template <bool keep, bool by_attribute>
Value choose(Runtime& runtime, const Value& input, Arguments& arguments) {
  return make_generator(runtime, [&](std::vector<Value>& out) {
    if (!truth(input)) return;
    Arguments rest = arguments;
    const auto take = [&rest] {
      const Value v = rest.positional.front();
      rest.positional.erase(rest.positional.begin());
      return v;
    };
    if (by_attribute && rest.positional.empty()) raise("Missing parameter for attribute name");
    const AttributePath path(runtime, by_attribute ? take() : Value());
    const bool has_test = !rest.positional.empty();
    const std::string name = has_test ? require_string(take(), "name of a test") : "";
    const TestFunction test = has_test ? find_test(name) : nullptr;
    for (const Value& item : Items(runtime, input)) {
      if (has_test && !test) raise("No test named '{}'.", name);
      const Value v = path.of(item);
      Arguments of_call = rest;
      if ((test ? test(runtime, v, of_call) : truth(v)) == keep) out.push_back(item);
    }
  });
}

Value random(Runtime&, const Value&, Arguments&) {
  raise("the filter random is not supported: a prompt must not depend on chance");
}

}  // namespace

const std::vector<FilterEntry>& sequence_filters() {
  static const std::vector<FilterEntry> filters = {{"sort", sort},
                                                   {"dictsort", dictsort},
                                                   {"unique", unique},
                                                   {"groupby", groupby},
                                                   {"min", extreme<false>},
                                                   {"max", extreme<true>},
                                                   {"sum", sum},
                                                   {"length", length},
                                                   {"count", length},
                                                   {"first", first},
                                                   {"last", last},
                                                   {"reverse", reverse},
                                                   {"list", list},
                                                   {"join", join},
                                                   {"default", default_filter},
                                                   {"d", default_filter},
                                                   {"items", items_filter},
                                                   {"batch", batch},
                                                   {"slice", slice},
                                                   {"attr", attr},
                                                   {"map", map},
                                                   {"select", choose<true, false>},
                                                   {"reject", choose<false, false>},
                                                   {"selectattr", choose<true, true>},
                                                   {"rejectattr", choose<false, true>},
                                                   {"random", random}};
  return filters;
}

FilterFunction find_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, FilterFunction> filters = [] {
    std::unordered_map<std::string_view, FilterFunction> all;
    all.insert(text_filters().begin(), text_filters().end());
    all.insert(number_filters().begin(), number_filters().end());
    all.insert(sequence_filters().begin(), sequence_filters().end());
    return all;
  }();
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace dsv3::jinja
