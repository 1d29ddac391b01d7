#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace dsv3::answer {

/// Follows the arguments of a call, a JSON object or a JSON string with one in it, to their end.
class ArgumentsScanner {
 public:
  enum class Status { kOpen, kComplete, kMalformed };

  /// Takes bytes of `text` until the arguments end or cannot be JSON; `taken` is how many they are.
  Status scan(std::string_view text, size_t& taken);
  bool is_string() const { return is_string_; }

 private:
  bool started_ = false, is_string_ = false;
  bool in_string_ = false, escaped_ = false;
  int depth_ = 0;
};

/// The object that complete arguments are: `json` itself, or what it holds if it is a string.
/// Nothing if it is not valid JSON.
std::optional<std::string> arguments_object(const std::string& json);

}  // namespace dsv3::answer
