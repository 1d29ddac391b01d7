#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace dsv3::jinja {

/// Parses a normalized source. `max_depth` bounds how deep expressions and blocks nest. Throws
/// SyntaxFailure.
Body parse(std::string_view source, int max_depth);

}  // namespace dsv3::jinja
