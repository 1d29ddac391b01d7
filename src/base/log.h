#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <string>

namespace dsv3 {

/// Where warnings and notes of the library go; the default drops them. A program sets it once at
/// start (not thread safe against concurrent logging).
using LogSink = std::function<void(const std::string& line)>;
void set_log_sink(LogSink sink);
void log_line(const std::string& line);

template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  log_line("warning: " + fmt::format(format, std::forward<Args>(args)...));
}

/// What progress is counted in; bytes are shown as such and by the second.
enum class ProgressUnit : uint8_t { kItems, kBytes };
/// Progress of a long job: `done` of `total`. Called from one thread at a time.
using ProgressFn =
    std::function<void(const std::string& what, int64_t done, int64_t total, ProgressUnit unit)>;
void set_progress_sink(ProgressFn sink);
void report_progress(const std::string& what, int64_t done, int64_t total,
                     ProgressUnit unit = ProgressUnit::kItems);

}  // namespace dsv3
