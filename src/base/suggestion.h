#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dsv3 {

/// "; did you mean 'generate'?" if one of the words is near, else "".
std::string suggestion(std::string_view word, const std::vector<std::string>& known);

}  // namespace dsv3
