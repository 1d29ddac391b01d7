// dsv3 template: conversations rendered by a chat template.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "cli/chat_options.h"
#include "cli/commands.h"
#include "cli/json_lines.h"
#include "dsv3/chat_template.h"

namespace dsv3::cli {
namespace {

int render_lines(const std::filesystem::path& model,
                 const std::optional<std::filesystem::path>& file) {
  const ChatTemplate chat_template = load_chat_template(model, file);
  return filter_json_lines([&](const Json& line, const std::string& where) -> Json {
    const auto messages = line.find("messages");
    if (messages == line.end()) fail("{}: messages: expected a list", where);
    ChatOptions options;
    const auto text_of = [&](const char* key) {
      const auto found = line.find(key);
      return found == line.end() || found->is_null() ? std::string() : found->dump();
    };
    options.tools_json = text_of("tools");
    options.documents_json = text_of("documents");
    set_template_kwargs(options, line.value("kwargs", Json()), where + ": kwargs");
    return {{"rendered", chat_template.render(messages->dump(), options)}};
  });
}

}  // namespace

void add_template_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("template", "Render conversations by a chat template");
  auto model = std::make_shared<std::filesystem::path>();
  auto file = std::make_shared<std::optional<std::filesystem::path>>();
  command->add_option("MODEL", *model, "folder of a model")->required();
  command->add_option("--template", *file, "a Jinja file in the place of the model's template")
      ->type_name("FILE");
  command->footer(R"(
Standard input has an object on each line: {"messages": [...]} and perhaps "tools", "documents" and
"kwargs". Each gives {"rendered": ...}; a bad line gives {"error": {"message": ...}} and exit code 1
in the end. Keys of kwargs are variables of the template, or add_generation_prompt and
continue_final_message (true, or the field of the last message that goes on).

Examples:
  echo '{"messages": [{"role": "user", "content": "Hi"}]}' | dsv3 template models/stories
  dsv3 template ~/models/DeepSeek-V3 --template mine.jinja <conversations.jsonl)");
  command->callback(
      [model, file, &action] { action = [model, file] { return render_lines(*model, *file); }; });
}

}  // namespace dsv3::cli
