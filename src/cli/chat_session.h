#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/json.h"
#include "dsv3/answer.h"
#include "dsv3/chat_template.h"
#include "dsv3/generation.h"
#include "dsv3/tokenizer.h"
#include "generation/prefix_reuse.h"
#include "text/chat_prompt.h"

namespace dsv3::cli {

/// What one answer took.
struct TurnStats {
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;  ///< of the prompt, taken from the cache of earlier turns
  int64_t new_tokens = 0;
  double seconds = 0;
  FinishReason finish_reason = FinishReason::kStop;
};

/// A conversation with a model: its messages, and how to get the next answer. The cache of earlier
/// turns is kept, so that a turn reads only what is new.
class ChatSession {
 public:
  ChatSession(generation::CausalLm& model, Tokenizer tokenizer, ChatTemplate chat_template,
              GenerationConfig config);

  /// Messages as the template gets them: objects with "role", "content" and, of the assistant,
  /// perhaps "reasoning_content" and "tool_calls".
  const Json& messages() const { return messages_; }
  /// Back to messages that this conversation has had.
  void restore(Json messages) { messages_ = std::move(messages); }
  GenerationConfig& config() { return config_; }
  /// Variables of the template.
  void set_template_kwargs(const std::string& json) { options_.kwargs_json = json; }
  void allow_special_tokens() { special_ = SpecialTokensIn::kEverywhere; }

  /// Replaces the system message; "" removes it.
  void set_system(const std::string& text);
  /// Forgets everything but the system message.
  void reset();
  /// Removes the last question and its answer, and returns the question. Throws Error if there is
  /// none.
  std::string undo();
  /// One JSON object {"messages": [...]}; written atomically.
  void save(const std::filesystem::path& path) const;
  /// Replaces the conversation. Throws Error if the file is not one; the conversation stays then.
  void load(const std::filesystem::path& path);
  /// Tokens of the conversation as the template renders it.
  int64_t tokens() const;
  /// Tokens the model can hold.
  int64_t context() const { return model_.max_length(); }

  /// Adds the question and generates the answer. `on_event` gets the answer as it comes and may
  /// return false to stop it; what came until then is kept. If it throws, or the question does not
  /// fit the context, the conversation is what it was before.
  TurnStats ask(const std::string& question,
                const std::function<bool(const AnswerEvent&)>& on_event);

 private:
  ChatPrompt prompt(bool add_generation_prompt) const;

  generation::PrefixReusingLm model_;
  Tokenizer tokenizer_;
  ChatTemplate template_;
  GenerationConfig config_;
  ChatOptions options_;
  SpecialTokensIn special_ = SpecialTokensIn::kTemplate;
  Json messages_ = Json::array();
};

}  // namespace dsv3::cli
