#include "cli/chat_session.h"

#include <chrono>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "cli/observed_lm.h"
#include "text/utf8.h"

namespace dsv3::cli {
namespace {

using Clock = std::chrono::steady_clock;

bool has_role(const Json& message, const char* role) {
  const auto found = message.find("role");
  return found != message.end() && *found == role;
}

/// The text of a message whose content is one; "" for lists of parts and the like.
std::string text_of(const Json& message) {
  const auto found = message.find("content");
  return found != message.end() && found->is_string() ? found->get<std::string>() : std::string();
}

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
  // Templates of V3 and R1 write the calls of messages without content only.
  if (answer.content.empty() && result.contains("tool_calls")) result["content"] = nullptr;
  return result;
}

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

ChatSession::ChatSession(generation::CausalLm& model, Tokenizer tokenizer,
                         ChatTemplate chat_template, ChatSettings settings)
    : model_(model),
      tokenizer_(std::move(tokenizer)),
      template_(std::move(chat_template)),
      settings_(std::move(settings)) {}

std::string ChatSession::system() const {
  return !messages_.empty() && has_role(messages_[0], "system") ? text_of(messages_[0]) : "";
}

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
    const std::string question = text_of(messages_[i]);
    messages_.erase(messages_.begin() + static_cast<int64_t>(i), messages_.end());
    return question;
  }
  fail("there is no question to go back to");
}

void ChatSession::save(const std::filesystem::path& path) const {
  write_file_atomically(path, Json{{"messages", messages_}}.dump(2) + "\n");
}

void ChatSession::load(const std::filesystem::path& path) {
  Json json = read_json_file(path);
  if (json.is_object()) json = Json(json.value("messages", Json()));
  if (!json.is_array()) {
    fail("{}: expected an object with the list 'messages', or the list", path.string());
  }
  for (const Json& m : json) {
    if (!m.is_object() || !m.contains("role") || !m["role"].is_string()) {
      fail("{}: expected messages with a 'role', found {}", path.string(), m.dump());
    }
  }
  Json before = std::exchange(messages_, std::move(json));
  try {
    prompt(false);  // What the template cannot render is no conversation for this model.
  } catch (const Error& e) {
    messages_ = std::move(before);
    fail("{}: {}", path.string(), e.what());
  }
}

ChatPrompt ChatSession::prompt(bool add_generation_prompt) const {
  ChatOptions options = settings_.prompt;
  options.add_generation_prompt = add_generation_prompt;
  return make_chat_prompt(template_, tokenizer_, messages_.dump(), options,
                          settings_.special_tokens);
}

int64_t ChatSession::tokens() const {
  return messages_.empty() ? 0 : static_cast<int64_t>(prompt(false).ids.size());
}

TurnStats ChatSession::ask(const std::string& question,
                           const std::function<bool(const AnswerEvent&)>& on_event) {
  if (!is_valid_utf8(question)) fail("the question is not valid UTF-8");
  const Json before = messages_;
  messages_.push_back(message("user", question));
  try {
    return answer(on_event);
  } catch (...) {
    messages_ = before;
    throw;
  }
}

TurnStats ChatSession::answer(const std::function<bool(const AnswerEvent&)>& on_event) {
  const ChatPrompt chat = prompt(true);
  TurnStats stats;
  stats.prompt_tokens = static_cast<int64_t>(chat.ids.size());
  const int64_t room = context() - stats.prompt_tokens;
  if (room <= 0) {
    fail(
        "the conversation has {} tokens with this question, and the model's context is {}: /undo "
        "or /reset makes room",
        stats.prompt_tokens, context());
  }

  AnswerReader reader(
      settings_.answer_format.value_or(detect_answer_format(template_.source(), chat.text)),
      settings_.stream_arguments);
  Answer answer;
  bool stopped = false;
  const auto take = [&](const std::vector<AnswerEvent>& events) {
    for (const AnswerEvent& event : events) {
      answer.add(event);
      if (!on_event(event)) stopped = true;
    }
  };
  const auto begin = Clock::now();
  GenerationRequest request;
  request.config = settings_.generation;
  if (!request.config.max_new_tokens && !request.config.max_length) {
    request.config.max_new_tokens = room;
  }
  // Random numbers are those of the seed and the token's number: each turn has its own seed.
  request.config.seed += messages_.size();
  request.prompts = {chat.ids};
  request.prefill_chunk = settings_.prefill_chunk;
  request.make_text_decoder = [this] {
    auto decoder = std::make_shared<AnswerDecoder>(tokenizer_);
    return TextDecoder{[decoder](int64_t id) { return decoder->push(id); },
                       [decoder] { return decoder->flush(); }};
  };
  // on_token too: text may be held back for long, and stopping should not wait for it.
  request.on_token = [&](int64_t, int64_t, const TokenLogprobs*) {
    if (stats.new_tokens++ == 0) stats.seconds_to_first = seconds_since(begin);
    if (!on_event({.kind = AnswerEvent::Kind::kMark})) stopped = true;
    return !stopped;
  };
  request.on_text = [&](int64_t, std::string_view text) {
    take(reader.push(text));
    return !stopped;
  };
  // Shows how far a long prompt is, and lets Ctrl-C end it.
  ObservedLm lm(model_, stats.prompt_tokens, /*stoppable=*/false);
  const GenerationResult result = generate(lm, request);
  stats.seconds = seconds_since(begin);
  take(reader.flush());
  stats.reused_tokens = model_.take_reused_tokens();
  stats.finish_reason = result.sequences[0].finish_reason;
  stats.context_full = stats.finish_reason == FinishReason::kLength && stats.new_tokens >= room;
  messages_.push_back(assistant_message(answer));
  return stats;
}

}  // namespace dsv3::cli
