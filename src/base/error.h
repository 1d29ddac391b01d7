#pragma once

#include <fmt/format.h>

#include <string>

#include "dsv3/error.h"

namespace dsv3 {

/// Throws Error with a formatted message.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Runs `f`; an Error that leaves it gets "`context`: " in front.
template <typename F>
decltype(auto) with_context(const std::string& context, F&& f) {
  try {
    return f();
  } catch (const Error& e) {
    throw Error(context + ": " + e.what());
  }
}

}  // namespace dsv3
