// libFuzzer target: any bytes as a template render the same text twice, in valid UTF-8, or fail
// with a TemplateError that names a place in them.

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"
#include "text/utf8.h"

namespace {

using namespace dsv3;

// Some of everything that templates go through.
constexpr const char* kContext = R"({
  "messages": [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hé <b>你好</b>\n"},
    {"role": "assistant", "content": null, "tool_calls": [
      {"type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": [0.5, true, null]}}}]},
    {"role": "tool", "content": "4"},
    {"role": "assistant", "content": "<think>a</think>b", "prefix": true}],
  "tools": [{"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}],
  "documents": null, "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>",
  "l": [3, 1, 2], "s": "some words, some more", "d": {"a": 1, "b": {"c": "x"}}, "x": 1.5, "n": -7
})";

jinja::Context make_context() {
  jinja::Context context;
  const jinja::Value variables = jinja::parse_json_value(kContext, "context");
  for (const auto& [key, value] : variables.dict().items) context.emplace_back(key.text(), value);
  return context;
}

// Small, so that a run takes milliseconds.
TemplateLimits small_limits() {
  TemplateLimits limits;
  limits.max_steps = 20'000;
  limits.max_string_bytes = 1 << 16;
  limits.max_memory_bytes = 1 << 20;
  limits.max_depth = 60;
  return limits;
}

std::optional<std::string> rendered(const std::string& source) {
  static const jinja::Context context = make_context();
  static const TemplateLimits limits = small_limits();
  std::tm noon = {};
  noon.tm_year = 125;
  noon.tm_mday = 1;
  noon.tm_hour = 12;
  try {
    const jinja::Program program = jinja::compile(source, limits);
    return jinja::render(program, context, limits, noon);
  } catch (const TemplateError& e) {
    if (e.line() < 1 || e.column() < 1 || e.reason().size() > 4 * limits.max_string_bytes) {
      std::abort();
    }
    if (!is_valid_utf8(e.what())) std::abort();
    return std::nullopt;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string source(reinterpret_cast<const char*>(data), size);
  const std::optional<std::string> text = rendered(source);
  if (text && !is_valid_utf8(*text)) std::abort();
  if (text != rendered(source)) std::abort();
  return 0;
}
