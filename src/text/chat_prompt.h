#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dsv3/chat_template.h"
#include "dsv3/tokenizer.h"

namespace dsv3 {

/// A conversation, ready for the model.
struct ChatPrompt {
  std::string text;          ///< as ChatTemplate::render gives it
  std::vector<int64_t> ids;  ///< its tokens
};

/// Whose text may name special tokens.
enum class SpecialTokensIn {
  kTemplate,    ///< the template's only: what the conversation says is text and nothing else
  kEverywhere,  ///< as transformers does it
};

/// Renders a conversation and encodes the result, without adding a BOS: the template prints it.
///
/// With kTemplate, texts of added tokens in messages, tools, documents and kwargs never become such
/// tokens, not even put together of two strings that the template prints one after the other; only
/// <think> and </think> in messages of the assistant, which templates look for, keep their meaning.
/// For that, the first character of each such text is replaced by a private-use character that
/// occurs nowhere in the conversation while the template runs, so a template that looks for these
/// very texts in messages of others does not find them. All else is rendered as it is.
///
/// Throws TemplateError and Error, as ChatTemplate::render.
ChatPrompt make_chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                            const std::string& messages_json, const ChatOptions& options = {},
                            SpecialTokensIn special = SpecialTokensIn::kTemplate);

}  // namespace dsv3
