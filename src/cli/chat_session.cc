#include "cli/chat_session.h"

#include <chrono>
#include <memory>

#include "base/error.h"
#include "base/file.h"

namespace dsv3::cli {
namespace {

bool has_role(const Json& message, const char* role) { return message.value("role", "") == role; }

Json message(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

Json assistant_message(const Answer& answer) {
  Json result = message("assistant", answer.content);
  if (!answer.reasoning.empty()) result["reasoning_content"] = answer.reasoning;
  for (const Answer::ToolCall& call : answer.tool_calls) {
    if (!call.complete) continue;
    result["tool_calls"].push_back(
        {{"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  return result;
}

}  // namespace

ChatSession::ChatSession(generation::CausalLm& model, Tokenizer tokenizer,
                         ChatTemplate chat_template, GenerationConfig config)
    : model_(model),
      tokenizer_(std::move(tokenizer)),
      template_(std::move(chat_template)),
      config_(std::move(config)) {}

void ChatSession::set_system(const std::string& text) {
  if (!messages_.empty() && has_role(messages_[0], "system")) messages_.erase(0);
  if (!text.empty()) messages_.insert(messages_.begin(), message("system", text));
}

void ChatSession::reset() {
  Json kept = Json::array();
  if (!messages_.empty() && has_role(messages_[0], "system")) kept.push_back(messages_[0]);
  messages_ = std::move(kept);
}

std::string ChatSession::undo() {
  for (size_t i = messages_.size(); i-- > 0;) {
    if (!has_role(messages_[i], "user")) continue;
    const std::string question = messages_[i].value("content", "");
    messages_.erase(messages_.begin() + static_cast<int64_t>(i), messages_.end());
    return question;
  }
  fail("there is no question to go back to");
}

void ChatSession::save(const std::filesystem::path& path) const {
  write_file_atomically(path, Json{{"messages", messages_}}.dump(2) + "\n");
}

void ChatSession::load(const std::filesystem::path& path) {
  const Json json = read_json_file(path);
  const auto messages = json.is_object() ? json.find("messages") : json.end();
  if (messages == json.end() || !messages->is_array()) {
    fail("{}: expected an object with the list 'messages'", path.string());
  }
  for (const Json& m : *messages) {
    if (!m.is_object() || !m.contains("role") || !m["role"].is_string()) {
      fail("{}: expected messages with a 'role', found {}", path.string(), m.dump());
    }
  }
  Json before = std::exchange(messages_, *messages);
  try {
    prompt(false);  // What the template cannot render is no conversation for this model.
  } catch (const Error&) {
    messages_ = std::move(before);
    throw;
  }
}

ChatPrompt ChatSession::prompt(bool add_generation_prompt) const {
  ChatOptions options = options_;
  options.add_generation_prompt = add_generation_prompt;
  return make_chat_prompt(template_, tokenizer_, messages_.dump(), options, special_);
}

int64_t ChatSession::tokens() const {
  return messages_.empty() ? 0 : static_cast<int64_t>(prompt(false).ids.size());
}

TurnStats ChatSession::ask(const std::string& question,
                           const std::function<bool(const AnswerEvent&)>& on_event) {
  const Json before = messages_;
  messages_.push_back(message("user", question));
  try {
    const ChatPrompt chat = prompt(true);
    TurnStats stats;
    stats.prompt_tokens = static_cast<int64_t>(chat.ids.size());
    if (stats.prompt_tokens >= context()) {
      fail("the conversation has {} tokens with this question, and the context {}: /undo or /reset",
           stats.prompt_tokens, context());
    }

    AnswerReader reader(detect_answer_format(template_.source(), chat.text));
    Answer answer;
    bool stopped = false;
    const auto take = [&](const std::vector<AnswerEvent>& events) {
      for (const AnswerEvent& event : events) {
        answer.add(event);
        if (!stopped && !on_event(event)) stopped = true;
      }
    };
    GenerationRequest request;
    request.config = config_;
    request.prompts = {chat.ids};
    request.make_text_decoder = [this] {
      auto decoder = std::make_shared<AnswerDecoder>(tokenizer_);
      return TextDecoder{[decoder](int64_t id) { return decoder->push(id); },
                         [decoder] { return decoder->flush(); }};
    };
    // on_token too: text may be held back for long, and stopping should not wait for it.
    request.on_token = [&](int64_t, int64_t, const TokenLogprobs*) {
      if (!stopped && !on_event({.kind = AnswerEvent::Kind::kMark})) stopped = true;
      return !stopped;
    };
    request.on_text = [&](int64_t, std::string_view text) {
      take(reader.push(text));
      return !stopped;
    };
    const auto begin = std::chrono::steady_clock::now();
    const GenerationResult result = generate(model_, request);
    stats.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    take(reader.flush());
    stats.reused_tokens = model_.take_reused_tokens();
    stats.new_tokens = static_cast<int64_t>(result.sequences[0].tokens.size());
    stats.finish_reason = result.sequences[0].finish_reason;
    messages_.push_back(assistant_message(answer));
    return stats;
  } catch (...) {
    messages_ = before;
    throw;
  }
}

}  // namespace dsv3::cli
