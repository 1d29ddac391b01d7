#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/runtime.h"

namespace dsv3::jinja {

/// A parsed template; immutable.
struct Program {
  std::string source;  // normalized
  Body body;
  FrameLayout frame;
  int self_slot = -1;
};

/// Throws TemplateError.
Program compile(std::string_view source, const TemplateLimits& limits);

/// The variables a template starts with; later ones win.
using Context = std::vector<std::pair<std::string, Value>>;

/// Throws TemplateError. The values of `context` must have no Meter.
std::string render(const Program& program, const Context& context, const TemplateLimits& limits,
                   const std::optional<std::tm>& now);

}  // namespace dsv3::jinja
