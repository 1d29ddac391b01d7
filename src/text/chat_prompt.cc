#include "text/chat_prompt.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "text/added_tokens.h"
#include "text/answer/marks.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

/// First of the characters that may stand for another one: supplementary private use area A.
constexpr char32_t kFirstGuard = 0xF0000;
constexpr char32_t kLastGuard = 0xFFFFD;

std::string_view first_character(std::string_view text) {
  return text.substr(0, utf8_length(static_cast<uint8_t>(text.front())));
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

template <typename Function>
void for_each_string(const Json& json, const Function& function) {
  if (json.is_string()) function(json.get_ref<const std::string&>());
  for (const auto& item : json.items()) {
    if (json.is_object()) function(item.key());
    if (json.is_structured()) for_each_string(item.value(), function);
  }
}

/// Puts private-use characters in the place of those that texts of added tokens begin with, and
/// takes them back.
class Guard {
 public:
  explicit Guard(const Tokenizer& tokenizer) {
    for (const int64_t id : tokenizer.added_tokens()) {
      const std::string text = tokenizer.id_to_token(id).value_or("");
      if (text.empty() || !is_valid_utf8(text)) continue;
      // Which flags the token has does not matter for where its text begins.
      AddedToken token;
      token.id = id;
      token.content = text;
      all_.add(token);
      const bool think = text == answer::kThinkBegin || text == answer::kThinkEnd;
      if (!think) all_but_think_.add(token);
      tokens_.push_back({text, think});
      longest_ = std::max(longest_, text.size());
    }
  }

  /// Chooses characters that are not in these texts.
  void avoid(const std::vector<const Json*>& parts, const std::string& template_source) {
    char32_t next = kFirstGuard;
    const auto taken = [&](const std::string& guard) {
      bool found = template_source.find(guard) != std::string::npos;
      for (const Json* part : parts) {
        for_each_string(*part, [&](const std::string& text) {
          found |= text.find(guard) != std::string::npos;
        });
      }
      return found;
    };
    for (const Token& token : tokens_) {
      const std::string original(first_character(token.text));
      if (guard_of(original) != nullptr) continue;
      std::string guard;
      do {
        if (next > kLastGuard) fail("the conversation uses all private-use characters");
        guard.clear();
        append_utf8(guard, next++);
      } while (taken(guard));
      guards_.emplace_back(original, guard);
    }
  }

  /// Guards all strings in `json`, keys included; true if there was something to guard.
  bool protect(Json& json, bool spare_think) {
    if (json.is_string()) {
      std::string text = json.get<std::string>();
      const bool changed = protect_text(text, spare_think);
      if (changed) json = text;
      return changed;
    }
    bool changed = false;
    if (json.is_array()) {
      for (Json& item : json) changed |= protect(item, spare_think);
    } else if (json.is_object()) {
      Json result = Json::object();
      for (auto& [key, value] : json.items()) {
        std::string name = key;
        changed |= protect_text(name, spare_think);
        changed |= protect(value, spare_think);
        result[name] = std::move(value);
      }
      json = std::move(result);
    }
    return changed;
  }

  std::string restore(std::string text) const {
    for (const auto& [original, guard] : guards_) {
      text = replaced(std::move(text), guard, original);
    }
    return text;
  }

  /// Ids of a guarded text: added tokens where their whole text stands, and for the rest text.
  std::vector<int64_t> encode(const std::string& text, const Tokenizer& tokenizer) const {
    std::vector<TextPart> parts;
    all_.split(text, parts);
    std::vector<int64_t> ids;
    for (const TextPart& part : parts) {
      if (part.id != TextPart::kText) {
        ids.push_back(part.id);
        continue;
      }
      const std::vector<int64_t> plain =
          tokenizer.encode(restore(std::string(part.text)), /*add_special_tokens=*/false,
                           /*allow_special=*/false);
      ids.insert(ids.end(), plain.begin(), plain.end());
    }
    return ids;
  }

 private:
  struct Token {
    std::string text;
    bool think;
  };

  const std::string* guard_of(std::string_view character) const {
    for (const auto& [original, guard] : guards_) {
      if (original == character) return &guard;
    }
    return nullptr;
  }

  bool protect_text(std::string& text, bool spare_think) const {
    const AddedTokenFinder& finder = spare_think ? all_but_think_ : all_;
    bool changed = false;
    // Again after a change: a token may begin inside of another one.
    for (bool found = true; found;) {
      found = false;
      std::vector<TextPart> parts;
      finder.split(text, parts);
      std::string result;
      for (const TextPart& part : parts) {
        if (part.id == TextPart::kText) {
          result += part.text;
          continue;
        }
        const std::string_view first = first_character(part.text);
        result += *guard_of(first);
        result += part.text.substr(first.size());
        found = true;
      }
      if (found) text = std::move(result);
      changed |= found;
    }
    return protect_end(text, spare_think) || changed;
  }

  /// The end of a string may be a token's beginning, and what is printed next the rest of it.
  bool protect_end(std::string& text, bool spare_think) const {
    bool changed = false;
    for (const auto& [original, guard] : guards_) {
      size_t at = text.size() - std::min(text.size(), longest_);
      while ((at = text.find(original, at)) != std::string::npos) {
        const std::string_view end = std::string_view(text).substr(at);
        const bool begins_token = std::any_of(tokens_.begin(), tokens_.end(), [&](const Token& t) {
          return !(t.think && spare_think) && t.text.starts_with(end);
        });
        if (begins_token) text.replace(at, original.size(), guard);
        at += begins_token ? guard.size() : original.size();
        changed |= begins_token;
      }
    }
    return changed;
  }

  AddedTokenFinder all_, all_but_think_;
  std::vector<Token> tokens_;
  size_t longest_ = 0;                                       // bytes of a token
  std::vector<std::pair<std::string, std::string>> guards_;  // character, what stands for it
};

Json parse_optional(const std::string& text, const char* name) {
  return text.find_first_not_of(" \t\r\n") == std::string::npos ? Json() : parse_json(text, name);
}

}  // namespace

ChatPrompt make_chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                            const std::string& messages_json, const ChatOptions& options,
                            SpecialTokensIn special) {
  if (special == SpecialTokensIn::kEverywhere) {
    ChatPrompt prompt{chat_template.render(messages_json, options), {}};
    prompt.ids = tokenizer.encode(prompt.text);
    return prompt;
  }
  Json messages = parse_json(messages_json, "messages");
  Json tools = parse_optional(options.tools_json, "tools");
  Json documents = parse_optional(options.documents_json, "documents");
  Json kwargs = parse_optional(options.kwargs_json, "kwargs");

  Guard guard(tokenizer);
  guard.avoid({&messages, &tools, &documents, &kwargs}, chat_template.source());
  // JSON that needs no guard is passed on as it was written: numbers may have been longer than
  // what we read of them.
  bool guarded = false;
  std::string guarded_messages = messages_json;
  ChatOptions guarded_options = options;
  const auto finish = [&](bool changed, const Json& json, std::string& text) {
    if (changed) text = json.dump();
    guarded |= changed;
  };
  bool messages_changed = false;
  if (messages.is_array()) {
    for (Json& message : messages) {
      const bool assistant = message.is_object() && message.value("role", Json()) == "assistant";
      messages_changed |= guard.protect(message, /*spare_think=*/assistant);
    }
  }
  finish(messages_changed, messages, guarded_messages);
  finish(guard.protect(tools, false), tools, guarded_options.tools_json);
  finish(guard.protect(documents, false), documents, guarded_options.documents_json);
  finish(guard.protect(kwargs, false), kwargs, guarded_options.kwargs_json);

  const std::string text = chat_template.render(guarded_messages, guarded_options);
  if (!guarded) return {text, tokenizer.encode(text)};
  return {guard.restore(text), guard.encode(text, tokenizer)};
}

}  // namespace dsv3
