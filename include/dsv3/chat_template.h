#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dsv3/error.h"

namespace dsv3 {

/// What a template may use before rendering it stops with a TemplateError. Templates come with
/// downloaded models, and are not trusted.
struct TemplateLimits {
  /// Nodes evaluated, list items produced and comparisons made; also one for each 32 bytes of text
  /// that is made or searched. A usual chat of 100 messages takes some thousands.
  uint64_t max_steps = 10'000'000;
  /// Bytes of the output, and of each string.
  size_t max_string_bytes = size_t{64} << 20;
  /// Bytes of all strings, lists and dictionaries that the template made and still holds.
  size_t max_memory_bytes = size_t{256} << 20;
  /// Nesting of expressions and blocks in the source, and of calls of macros and recursive loops.
  int max_depth = 200;
};

/// What is wrong with a template, or went wrong while it was rendered, and where. what() has the
/// reason, the place, the source line and a caret below the place.
class TemplateError : public Error {
 public:
  enum class Phase { kParse, kRender };

  TemplateError(Phase phase, std::string reason, bool raised_by_template, const std::string& source,
                size_t offset);

  Phase phase() const { return phase_; }
  /// Without place and source line. Where the template called raise_exception, its argument.
  const std::string& reason() const { return reason_; }
  bool raised_by_template() const { return raised_by_template_; }
  /// Both count from 1; the column in characters.
  int line() const { return line_; }
  int column() const { return column_; }

 private:
  struct Place;
  TemplateError(Phase phase, std::string reason, bool raised_by_template, const Place& place);

  Phase phase_;
  std::string reason_;
  bool raised_by_template_;
  int line_, column_;
};

/// Names and texts of the tokens that a template may print: {"bos_token", "<s>"}, ...
using SpecialTokens = std::vector<std::pair<std::string, std::string>>;

/// Those of a model: a folder (its tokenizer_config.json; none without it) or a GGUF file. Throws
/// Error for a malformed file.
SpecialTokens read_special_tokens(const std::filesystem::path& model);

/// Everything about one conversation but its messages. Texts of JSON may be empty: absent.
struct ChatOptions {
  std::string tools_json;      ///< list of objects; the template sees none where absent
  std::string documents_json;  ///< list of objects; the template sees none where absent
  /// End with the header of an answer, so that the model writes one.
  bool add_generation_prompt = false;
  /// End inside the last message, so that the model goes on with it. Not with the one above.
  bool continue_final_message = false;
  /// The field of the last message to go on with.
  std::string continue_field = "content";
  /// An object of further variables ("enable_thinking", ...). They win over special tokens and the
  /// variables above of the same name; "messages" is refused.
  std::string kwargs_json;
  /// Local time that strftime_now tells; the system's clock where absent.
  std::optional<std::tm> now;
};

/// Turns conversations into prompt text as `apply_chat_template(tokenize=False)` of transformers
/// 5.12.1 does. The text is to be encoded without adding special tokens: the template prints them.
/// A ChatTemplate is parsed once; it is cheap to copy, and render may be called by several threads.
class ChatTemplate {
 public:
  /// `source` is Jinja. Throws TemplateError where it does not parse.
  static ChatTemplate from_source(std::string source, SpecialTokens special_tokens,
                                  const TemplateLimits& limits = {});

  /// Reads a model's folder. The template is chat_template.jinja (more may lie in
  /// additional_chat_templates/), else "chat_template" of chat_template.json, else that of
  /// tokenizer_config.json: a text, or a list of {"name", "template"}. The special tokens are those
  /// of tokenizer_config.json. Or reads a GGUF file: the template is "tokenizer.chat_template",
  /// with those that "tokenizer.chat_templates" names beside it. Throws Error where there is none
  /// or a file is malformed.
  static ChatTemplate from_folder(const std::filesystem::path& model,
                                  const TemplateLimits& limits = {});

  /// `messages_json` is a list of objects. Of several named templates, "tool_use" is taken where
  /// there are tools, else "default". Throws TemplateError, or Error about the arguments.
  std::string render(const std::string& messages_json, const ChatOptions& options = {}) const;

  /// Of the template named "default", or the only one.
  const std::string& source() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace dsv3
