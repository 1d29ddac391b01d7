#pragma once

#include <stdexcept>
#include <string>

namespace dsv3 {

/// Anything wrong that comes from outside the library: files, tensors, arguments, requests.
/// The message names the place (file, tensor or field), what was expected and what was found.
/// Every public function may throw it; the library never exits, aborts or prints.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

}  // namespace dsv3
