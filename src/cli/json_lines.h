#pragma once

#include <functional>
#include <string>

#include "base/json.h"

namespace dsv3::cli {

/// Standard input's objects, one on each line, to standard output's: `answer` makes one of the
/// other, and `where` names the line. A line that is no object, and one for which `answer` throws
/// Error, gives {"error": {"message": ...}} (for a TemplateError also reason, phase, line, column
/// and raised_by_template) and, in the end, exit code kFailed. Empty lines are passed over. Output
/// is flushed whenever input has to be waited for, so that a program may talk with us over pipes.
int filter_json_lines(
    const std::function<Json(const Json& line, const std::string& where)>& answer);

/// The member, or `fallback` where it is absent or null. Throws Error naming `where` and the key
/// for another type.
bool bool_member(const Json& object, const char* key, bool fallback, const std::string& where);

}  // namespace dsv3::cli
