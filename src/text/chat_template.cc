#include "dsv3/chat_template.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "checkpoint/gguf.h"
#include "text/chat_template_files.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"
#include "text/jinja/text.h"

namespace dsv3 {

struct ChatTemplate::Impl {
  std::map<std::string, jinja::Program> programs;
  jinja::Context special_tokens;
  TemplateLimits limits;
};

namespace {

using jinja::Kind;
using jinja::Value;

// Ends the text to be continued, so that its end is found in what the template printed.
constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";

Value none_or_objects(const std::string& json, const char* name) {
  if (json.empty()) return Value::none();
  const Value v = jinja::parse_json_value(json, name);
  if (v.is_none()) return v;
  if (!v.is(Kind::kList)) fail("{}: expected a list, found {}", name, jinja::type_name(v));
  for (const Value& item : v.sequence().items) {
    if (!item.is(Kind::kDict))
      fail("{}: expected objects in the list, found {}", name, jinja::type_name(item));
  }
  return v;
}

// A copy of `dict` with another value for `key`, which it has.
Value with_field(const jinja::Dict& dict, std::string_view key, const Value& value) {
  jinja::Meter meter{TemplateLimits{}};
  jinja::Ref<jinja::Dict> copy(new jinja::Dict(nullptr));
  for (const auto& [k, v] : dict.items) {
    copy->set(k, k.is_string() && k.text() == key ? value : v, meter);
  }
  return Value(Kind::kDict, copy.get());
}

Value with_last(const Value& list, size_t index, const Value& value) {
  std::vector<Value> items = list.sequence().items;
  items[index] = value;
  return jinja::make_list(nullptr, std::move(items));
}

Value with_tag(const Value& text, const char* what) {
  if (!text.is_string()) fail("continue_final_message: {} is no text", what);
  return jinja::make_string(nullptr, text.text() + std::string(kContinueTag));
}

// Puts the tag at the end of the last message; its text without the tag goes to `final_text`.
Value tag_final_message(const Value& messages, const std::string& field, const std::string& source,
                        std::string& final_text) {
  const auto& list = messages.sequence().items;
  if (list.empty() || !list.back().is(Kind::kDict)) {
    fail("continue_final_message: there is no final message");
  }
  const jinja::Dict& message = list.back().dict();
  const Value* content = message.find(field);
  if (!content || content->is_none()) {
    fail("continue_final_message: the final message has no '{}' to continue", field);
  }
  if (source.find(field) == std::string::npos) {
    fail("continue_final_message: the chat template does not use '{}'", field);
  }
  Value tagged;
  if (content->is(Kind::kList)) {
    const auto& parts = content->sequence().items;
    for (size_t i = parts.size(); i-- > 0;) {
      const Value* text = parts[i].is(Kind::kDict) ? parts[i].dict().find("text") : nullptr;
      if (!text) continue;
      const Value part = with_field(parts[i].dict(), "text", with_tag(*text, "the last text part"));
      final_text = text->text();
      tagged = with_last(*content, i, part);
      break;
    }
    if (tagged.is_missing())
      fail("continue_final_message: the final message has no text to continue");
  } else {
    tagged = with_tag(*content, "the final message");
    final_text = content->text();
  }
  return with_last(messages, list.size() - 1, with_field(message, field, tagged));
}

// Cuts the output where the tag is.
std::string cut_at_tag(std::string rendered, std::string_view final_text) {
  const std::string_view tag = kContinueTag.substr(0, kContinueTag.size() - 1);
  const size_t at = jinja::rfind(rendered, tag);
  if (at == std::string::npos ||
      jinja::find(rendered, jinja::strip(final_text, jinja::kBoth)) == jinja::kNotFound) {
    fail(
        "continue_final_message: the final message does not appear in the chat after the template "
        "was applied; the template may drop or change its text");
  }
  const bool kept_space = rendered.compare(at, kContinueTag.size(), kContinueTag) == 0;
  rendered.resize(at);
  return kept_space ? rendered : std::string(jinja::strip(rendered, jinja::kRight));
}

}  // namespace

ChatTemplate ChatTemplate::from_source(std::string source, SpecialTokens special_tokens,
                                       const TemplateLimits& limits) {
  auto impl = std::make_shared<Impl>();
  impl->limits = limits;
  impl->programs["default"] = jinja::compile(source, limits);
  for (auto& [name, text] : special_tokens) {
    impl->special_tokens.emplace_back(name, jinja::make_string(nullptr, text));
  }
  return ChatTemplate(std::move(impl));
}

ChatTemplate ChatTemplate::from_folder(const std::filesystem::path& model,
                                       const TemplateLimits& limits) {
  const ChatTemplateSources sources = read_chat_template_sources(model);
  if (sources.empty() && is_gguf_file(model)) {
    fail("{}: no key '{}'", model.string(), kGgufChatTemplateKey);
  }
  if (sources.empty()) {
    fail(
        "{}: there is no chat_template.jinja, and no 'chat_template' in tokenizer_config.json: "
        "a base model, which goes on with texts (dsv3 generate); for a conversation give it a "
        "template",
        model.string());
  }
  auto impl = std::make_shared<Impl>();
  impl->limits = limits;
  for (const auto& [name, source] : sources) {
    impl->programs[name] = jinja::compile(source, limits);
  }
  for (const auto& [name, text] : read_special_tokens(model)) {
    impl->special_tokens.emplace_back(name, jinja::make_string(nullptr, text));
  }
  return ChatTemplate(std::move(impl));
}

std::string ChatTemplate::render(const std::string& messages_json,
                                 const ChatOptions& options) const {
  if (options.continue_final_message && options.add_generation_prompt) {
    fail(
        "continue_final_message and add_generation_prompt exclude each other: the one goes on with "
        "the last message, the other starts a new one");
  }
  const Value tools = none_or_objects(options.tools_json, "tools");
  const Value documents = none_or_objects(options.documents_json, "documents");
  Value messages = jinja::parse_json_value(messages_json, "messages");
  if (!messages.is(Kind::kList))
    fail("messages: expected a list, found {}", jinja::type_name(messages));

  const auto& programs = impl_->programs;
  auto chosen = programs.end();
  if (!tools.is_none()) chosen = programs.find("tool_use");
  if (chosen == programs.end()) chosen = programs.find("default");
  if (chosen == programs.end()) {
    std::string names;
    for (const auto& entry : programs) names += (names.empty() ? "" : ", ") + entry.first;
    fail("there are several chat templates and none is named 'default': {}", names);
  }
  const jinja::Program& program = chosen->second;

  std::string final_text;
  if (options.continue_final_message) {
    messages = tag_final_message(messages, options.continue_field, program.source, final_text);
  }
  const Value add_generation_prompt(options.add_generation_prompt);
  jinja::Context context = impl_->special_tokens;
  context.emplace_back("messages", messages);
  context.emplace_back("tools", tools);
  context.emplace_back("documents", documents);
  context.emplace_back("add_generation_prompt", add_generation_prompt);
  if (!options.kwargs_json.empty()) {
    const Value kwargs = jinja::parse_json_value(options.kwargs_json, "kwargs");
    if (!kwargs.is(Kind::kDict))
      fail("kwargs: expected an object, found {}", jinja::type_name(kwargs));
    for (const auto& [key, value] : kwargs.dict().items) {
      if (key.text() == "messages") fail("kwargs: 'messages' cannot be given here");
      context.emplace_back(key.text(), value);
    }
  }
  std::string rendered = jinja::render(program, context, impl_->limits, options.now);
  return options.continue_final_message ? cut_at_tag(std::move(rendered), final_text) : rendered;
}

const std::string& ChatTemplate::source() const {
  const auto found = impl_->programs.find("default");
  return (found != impl_->programs.end() ? found : impl_->programs.begin())->second.source;
}

}  // namespace dsv3
