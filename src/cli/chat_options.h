#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>
#include <string>

#include "base/json.h"
#include "dsv3/answer.h"
#include "dsv3/chat_template.h"
#include "dsv3/tokenizer.h"
#include "text/chat_prompt.h"

namespace dsv3::cli {

/// A prompt that is a conversation, as the command line gives it.
struct ChatInput {
  bool chat = false;  ///< the prompt is what a user says
  std::optional<std::string> system;
  std::optional<std::filesystem::path> messages, tools, template_file;
  std::optional<std::string> kwargs;
  std::optional<std::string> answer_format;
  bool allow_special = false;

  /// Whether there is a conversation. Throws UsageError for options that need one where there is
  /// none.
  bool active() const;
};

void add_chat_options(CLI::App& command, ChatInput& options);
/// --answer-format, a name that answer_format knows.
void add_answer_format_option(CLI::App& command, std::optional<std::string>& format,
                              const char* group);

/// A conversation for the model, and the format of what it will answer.
struct ChatRequest {
  ChatPrompt prompt;
  AnswerFormat format;
};

/// `user`: what the user says; absent with --messages. Throws Error and UsageError.
ChatRequest make_chat_request(const ChatInput& input, const std::optional<std::string>& user,
                              const std::filesystem::path& model, const Tokenizer& tokenizer);

/// The model's template, or that of a file with the model's special tokens.
ChatTemplate load_chat_template(const std::filesystem::path& model,
                                const std::optional<std::filesystem::path>& file);

/// Sets the fields that `kwargs` (an object, or null) names and passes the rest on to the template.
/// Throws Error naming `where`.
void set_template_kwargs(ChatOptions& options, const Json& kwargs, const std::string& where);

}  // namespace dsv3::cli
