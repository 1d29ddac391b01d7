// libFuzzer target: any JSON as a conversation for real chat templates. The input is a line of
// `dsv3 template`, {"messages", "tools", "documents", "kwargs"}; it renders to valid UTF-8 through
// each template of tests/golden-text/templates, or fails with an Error.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "dsv3/chat_template.h"
#include "text/utf8.h"

namespace {

using namespace dsv3;

std::vector<ChatTemplate> read_templates() {
  TemplateLimits limits;
  limits.max_steps = 100'000;
  limits.max_string_bytes = 1 << 20;
  limits.max_memory_bytes = 4 << 20;
  std::vector<ChatTemplate> templates;
  const std::filesystem::path root = DSV3_SOURCE_DIR;
  for (const auto& entry :
       std::filesystem::directory_iterator(root / "tests/golden-text/templates")) {
    templates.push_back(ChatTemplate::from_source(
        read_file(entry.path()), {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, limits));
  }
  if (templates.empty()) std::abort();
  return templates;
}

void render(const ChatTemplate& chat_template, const std::string& messages,
            const ChatOptions& options) {
  try {
    if (!is_valid_utf8(chat_template.render(messages, options))) std::abort();
  } catch (const Error& e) {
    if (!is_valid_utf8(e.what())) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<ChatTemplate> templates = read_templates();
  Json line;
  try {
    line = parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const Error&) {
    return 0;
  }
  if (!line.is_object()) return 0;
  const auto text_of = [&](const char* key) {
    const auto found = line.find(key);
    return found == line.end() ? std::string() : found->dump();
  };
  const std::string messages = text_of("messages");
  ChatOptions options;
  options.tools_json = text_of("tools");
  options.documents_json = text_of("documents");
  options.kwargs_json = text_of("kwargs");
  for (const ChatTemplate& chat_template : templates) {
    options.add_generation_prompt = size % 2 == 0;
    options.continue_final_message = false;
    render(chat_template, messages, options);
    options.add_generation_prompt = false;
    options.continue_final_message = true;
    render(chat_template, messages, options);
  }
  return 0;
}
