#include "cli/chat_options.h"

#include <fmt/format.h>

#include <iostream>
#include <iterator>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/json_lines.h"

namespace dsv3::cli {
namespace {

constexpr const char* kGroup = "Conversation";

Json read_json_source(const std::filesystem::path& path) {
  if (path != "-") return parse_exact_json(read_file(path), path.string());
  return parse_exact_json(std::string(std::istreambuf_iterator<char>(std::cin), {}),
                          "standard input");
}

/// Templates of V3, R1 and V3.1 write calls of tools but never say which tools there are.
void require_use_of_tools(const ChatTemplate& chat_template, const Json& messages,
                          ChatOptions options) {
  const std::string with = chat_template.render(messages.dump(), options);
  options.tools_json.clear();
  if (with != chat_template.render(messages.dump(), options)) return;
  fail(
      "--tools: the model's chat template does not tell the model of tools: give a --template that "
      "does, or say in the system message what there is to call and how");
}

}  // namespace

bool ChatInput::active() const {
  const bool active = chat || messages.has_value();
  const auto require = [&](bool given, const char* name) {
    if (given && !active) throw UsageError(fmt::format("{} needs --chat or --messages", name));
  };
  require(system.has_value(), "--system");
  require(tools.has_value(), "--tools");
  require(template_file.has_value(), "--template");
  require(kwargs.has_value(), "--template-kwargs");
  require(answer_format.has_value(), "--answer-format");
  require(allow_special, "--allow-special");
  return active;
}

void add_answer_format_option(CLI::App& command, std::optional<std::string>& format,
                              const char* group) {
  command
      .add_option("--answer-format", format,
                  fmt::format("how to tell reasoning and tool calls from content: {}; default: as "
                              "the template does",
                              fmt::join(answer_format_names(), ", ")))
      ->type_name("NAME")
      ->check(CLI::IsMember(answer_format_names()).description(""))
      ->group(group);
}

void add_chat_options(CLI::App& command, ChatInput& options) {
  command
      .add_flag("--chat", options.chat,
                "the prompt is what a user says: the model's chat template goes around it")
      ->group(kGroup);
  command.add_option("--system", options.system, "the system message before it")
      ->type_name("TEXT")
      ->group(kGroup);
  command
      .add_option(
          "--messages", options.messages,
          "a conversation in the place of a prompt: a JSON list of {\"role\", \"content\"}, "
          "or an object with \"messages\"; - is standard input")
      ->type_name("FILE")
      ->group(kGroup);
  command.add_option("--tools", options.tools, "a JSON list of the functions the model may call")
      ->type_name("FILE")
      ->group(kGroup);
  command
      .add_option("--template", options.template_file,
                  "a Jinja file in the place of the model's template")
      ->type_name("FILE")
      ->group(kGroup);
  command
      .add_option("--template-kwargs", options.kwargs,
                  "an object of variables for the template, and add_generation_prompt and "
                  "continue_final_message")
      ->type_name("JSON")
      ->group(kGroup);
  add_answer_format_option(command, options.answer_format, kGroup);
  command
      .add_flag("--allow-special", options.allow_special,
                "let texts of special tokens in messages be special tokens")
      ->group(kGroup);
}

ChatRequest make_chat_request(const ChatInput& input, const std::optional<std::string>& user,
                              const std::filesystem::path& model, const Tokenizer& tokenizer) {
  Json messages = Json::array();
  if (input.system) messages.push_back({{"role", "system"}, {"content", *input.system}});
  if (input.messages) {
    Json read = read_json_source(*input.messages);
    if (read.is_object()) read = Json(read.value("messages", Json()));
    if (!read.is_array()) {
      fail("{}: expected a list of messages, or an object with \"messages\"",
           input.messages->string());
    }
    for (Json& message : read) messages.push_back(std::move(message));
  }
  if (user) messages.push_back({{"role", "user"}, {"content", *user}});

  ChatOptions options;
  options.add_generation_prompt = true;
  if (input.tools) {
    options.tools_json = parse_exact_json(read_file(*input.tools), input.tools->string()).dump();
  }
  if (input.kwargs) {
    const Json kwargs = parse_exact_json(*input.kwargs, "--template-kwargs");
    const Json go_on = kwargs.is_object() ? kwargs.value("continue_final_message", Json()) : Json();
    if (go_on == true || go_on.is_string()) options.add_generation_prompt = false;
    set_template_kwargs(options, kwargs, "--template-kwargs");
  }
  const ChatTemplate chat_template = load_chat_template(model, input.template_file);
  if (input.tools) require_use_of_tools(chat_template, messages, options);
  ChatRequest request;
  request.prompt = make_chat_prompt(
      chat_template, tokenizer, messages.dump(), options,
      input.allow_special ? SpecialTokensIn::kEverywhere : SpecialTokensIn::kTemplate);
  request.format = input.answer_format
                       ? answer_format(*input.answer_format)
                       : detect_answer_format(chat_template.source(), request.prompt.text);
  return request;
}

ChatTemplate load_chat_template(const std::filesystem::path& model,
                                const std::optional<std::filesystem::path>& file) {
  if (!file) return ChatTemplate::from_folder(model);
  return ChatTemplate::from_source(read_file(*file), read_special_tokens(model));
}

void set_template_kwargs(ChatOptions& options, const Json& kwargs, const std::string& where) {
  if (kwargs.is_null()) return;
  if (!kwargs.is_object()) fail("{}: expected an object, found {}", where, kwargs.dump());
  options.add_generation_prompt =
      bool_member(kwargs, "add_generation_prompt", options.add_generation_prompt, where);
  const auto field = kwargs.find("continue_final_message");
  if (field != kwargs.end() && field->is_string()) {
    options.continue_final_message = true;
    options.continue_field = field->get<std::string>();
  } else {
    options.continue_final_message =
        bool_member(kwargs, "continue_final_message", options.continue_final_message, where);
  }
  Json variables = kwargs;
  variables.erase("add_generation_prompt");
  variables.erase("continue_final_message");
  if (!variables.empty()) options.kwargs_json = variables.dump();
}

}  // namespace dsv3::cli
