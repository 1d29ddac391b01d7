#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/gguf_metadata.h"
#include "dsv3/chat_template.h"

namespace dsv3 {

/// Jinja by name; the usual one is "default".
using ChatTemplateSources = std::map<std::string, std::string>;

/// The templates of a model, a folder or a GGUF file; empty if it has none. Where they are looked
/// for: ChatTemplate::from_folder. Throws Error for a malformed file.
ChatTemplateSources read_chat_template_sources(const std::filesystem::path& model);

/// The keys in which GGUF keeps templates: the default one, the names of others, and the prefix of
/// the key of each of those.
inline constexpr const char* kGgufChatTemplateKey = "tokenizer.chat_template";
inline constexpr const char* kGgufChatTemplateNamesKey = "tokenizer.chat_templates";
inline constexpr const char* kGgufChatTemplatePrefix = "tokenizer.chat_template.";

ChatTemplateSources chat_template_sources(const GgufMetadata& metadata);
SpecialTokens special_tokens(const GgufMetadata& metadata);

}  // namespace dsv3
