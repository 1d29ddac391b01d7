#include "base/log.h"

namespace dsv3 {
namespace {
LogSink& log_sink() {
  static LogSink sink;
  return sink;
}
ProgressFn& progress_sink() {
  static ProgressFn sink;
  return sink;
}
}  // namespace

void set_log_sink(LogSink sink) { log_sink() = std::move(sink); }
void log_line(const std::string& line) {
  if (log_sink()) log_sink()(line);
}

void set_progress_sink(ProgressFn sink) { progress_sink() = std::move(sink); }
void report_progress(const std::string& what, int64_t done, int64_t total, ProgressUnit unit) {
  if (progress_sink()) progress_sink()(what, done, total, unit);
}

}  // namespace dsv3
