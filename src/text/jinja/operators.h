#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/runtime.h"

namespace dsv3::jinja {

/// Arithmetic as Python has it, but integers of 64 bits: beyond them it raises.
Value binary_operation(Runtime& runtime, Operator op, const Value& a, const Value& b);
Value unary_operation(Runtime& runtime, Operator op, const Value& v);
/// ==, <, in and the like.
bool compare(Runtime& runtime, Operator op, const Value& a, const Value& b);
/// a < b; raises for types without an order.
bool less(Runtime& runtime, const Value& a, const Value& b);
bool contains(Runtime& runtime, const Value& container, const Value& item);

}  // namespace dsv3::jinja
