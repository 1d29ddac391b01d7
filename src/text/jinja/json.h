#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace dsv3::jinja {

/// Values without a Meter from JSON text. Throws dsv3::Error naming `where` for text that is not
/// JSON, or with integers beyond 64 bits.
Value parse_json_value(std::string_view text, const std::string& where);

}  // namespace dsv3::jinja
