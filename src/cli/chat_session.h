#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/json.h"
#include "dsv3/answer.h"
#include "dsv3/chat_template.h"
#include "dsv3/generation.h"
#include "dsv3/tokenizer.h"
#include "generation/prefix_reuse.h"
#include "text/chat_prompt.h"

namespace dsv3::cli {

/// How a session makes prompts and answers, from its first message to its last.
struct ChatSettings {
  GenerationConfig generation;
  /// Variables of the template; the other fields are set for each prompt.
  ChatOptions prompt;
  SpecialTokensIn special_tokens = SpecialTokensIn::kTemplate;
  std::optional<AnswerFormat> answer_format;  ///< unset: as the template and each prompt say
  /// Whether the arguments of calls come as they are generated, as AnswerReader says.
  bool stream_arguments = true;
  int64_t prefill_chunk = 512;
};

/// What one answer took.
struct TurnStats {
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;  ///< of the prompt, taken from the cache of earlier turns
  int64_t new_tokens = 0;
  double seconds_to_first = 0;  ///< to the first new token
  double seconds = 0;
  FinishReason finish_reason = FinishReason::kStop;
  bool context_full = false;  ///< the answer ended because the model can hold no more
};

/// A conversation with a model: its messages, and how to get the next answer. The cache of earlier
/// turns is kept, so that a turn reads only what is new.
class ChatSession {
 public:
  ChatSession(generation::CausalLm& model, Tokenizer tokenizer, ChatTemplate chat_template,
              ChatSettings settings);

  /// Messages as the template gets them: objects with "role", "content" and, of the assistant,
  /// perhaps "reasoning_content" and "tool_calls".
  const Json& messages() const { return messages_; }
  /// Back to messages that this conversation has had.
  void restore(Json messages) { messages_ = std::move(messages); }
  GenerationConfig& config() { return settings_.generation; }

  /// The system message; "" if there is none.
  std::string system() const;
  /// Replaces the system message; "" removes it.
  void set_system(const std::string& text);
  /// Forgets everything but the system message.
  void reset();
  /// Removes the last question and its answer, and returns the question. Throws Error if there is
  /// none.
  std::string undo();
  /// One JSON object {"messages": [...]}; written atomically.
  void save(const std::filesystem::path& path) const;
  /// Replaces the conversation by that of a file: what `save` writes, or the list alone. Throws
  /// Error if the file is none; the conversation stays then.
  void load(const std::filesystem::path& path);
  /// Tokens of the conversation as the template renders it.
  int64_t tokens() const;
  /// Tokens the model can hold.
  int64_t context() const { return model_.max_length(); }

  /// Adds the question and generates the answer. `on_event` gets the answer as it comes and may
  /// return false to stop it; what came until then is kept. If it throws, Ctrl-C interrupts the
  /// reading of the prompt (an exception Interrupted), or the question does not fit the context,
  /// the conversation is what it was before.
  TurnStats ask(const std::string& question,
                const std::function<bool(const AnswerEvent&)>& on_event);

 private:
  ChatPrompt prompt(bool add_generation_prompt) const;
  TurnStats answer(const std::function<bool(const AnswerEvent&)>& on_event);

  generation::PrefixReusingLm model_;
  Tokenizer tokenizer_;
  ChatTemplate template_;
  ChatSettings settings_;
  Json messages_ = Json::array();
};

}  // namespace dsv3::cli
