#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace dsv3::jinja {

/// Null for a name that there is not.
FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);
/// range, dict, namespace, cycler, joiner, raise_exception, strftime_now; missing for other names.
Value find_global(std::string_view name);

using FilterEntry = std::pair<std::string_view, FilterFunction>;
/// The filters, by what they work on.
const std::vector<FilterEntry>& text_filters();
const std::vector<FilterEntry>& number_filters();
const std::vector<FilterEntry>& sequence_filters();

}  // namespace dsv3::jinja
