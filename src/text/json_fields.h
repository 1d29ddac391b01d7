#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace dsv3 {

/// Typed access to a field of a JSON object. `where` names the object ("pre_tokenizer"); an Error
/// names the field, its type and the expected one. An absent field or null gives the default.
const Json* find_field(const Json& object, std::string_view name, const std::string& where);
bool bool_field(const Json& object, std::string_view name, bool absent, const std::string& where);
/// These two have no default: the field must be there.
std::string string_field(const Json& object, std::string_view name, const std::string& where);
int64_t integer_field(const Json& object, std::string_view name, const std::string& where);
const Json& array_field(const Json& object, std::string_view name, const std::string& where);

}  // namespace dsv3
