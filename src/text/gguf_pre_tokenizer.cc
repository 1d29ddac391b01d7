#include "text/gguf_pre_tokenizer.h"

#include "text/deepseek_scanner.h"
#include "text/json_fields.h"
#include "text/pre_tokenizer.h"
#include "text/tiktoken.h"

namespace dsv3 {
namespace {

// DeepSeek LLM and V2. The letters are those with upper and lower case. Those that an editor might
// change, since their normal forms are other letters, are written as escapes.
// clang-format off
constexpr std::string_view kCasedWord =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵ"
    "Ϸ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗ"
    "ὙὛὝὟ-\u1F7Dᾀ-ᾴᾶ-ᾼ\u1FBEῂ-ῄῆ-ῌῐ-\u1FD3ῖ-\u1FDBῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ"
    "\u212A-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆ"
    "ﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
// clang-format on
constexpr std::string_view kDeepseekSigns =
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
constexpr std::string_view kDeepseekCjk = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                                    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<GgufPreTokenizer> make_all() {
  const auto deepseek = DeepseekScanner::patterns();
  const std::vector<std::string_view> v3(deepseek.begin(), deepseek.end());
  return {
      {"deepseek-v3", v3},
      {"joyai-llm", v3},
      {"deepseek-llm",
       {"[\r\n]", kCasedWord, kDeepseekSigns, R"(\s+$)", kDeepseekCjk, R"(\p{N}+)"}},
      {"deepseek-coder", {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekCjk, R"(\p{N})"}},
      // llama.cpp relies on the merges to give the tokens of whole pieces; tiktoken looks them up.
      {"kimi-k2", {kKimiPattern}, /*ignore_merges=*/true, /*add_bos=*/false, /*in_chunks=*/true},
      {"gpt-2", {kGpt2Pattern}},
      {"gigachat", {kGpt2Pattern}},
      {"gpt-4o", {kGpt4o}},
      {"kanana2", {kGpt4o}},
      {"llama-bpe", {kLlama3}, /*ignore_merges=*/true, /*add_bos=*/true},
      {"llama3", {kLlama3}, /*ignore_merges=*/true, /*add_bos=*/true},
      {"llama-v3", {kLlama3}, /*ignore_merges=*/true, /*add_bos=*/true},
      {"smaug-bpe", {kLlama3}},
      {"glm4", {kLlama3}},
      {"chatglm-bpe", {kLlama3}},
      {"qwen2", {kQwen2}},
      {"deepseek-r1-qwen", {kQwen2}},
      {"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
  };
}

/// Adds the patterns of a step; returns whether it is ByteLevel, the last.
bool add_patterns(const Json& step, const std::string& where, std::vector<std::string>& patterns) {
  const std::string type = string_field(step, "type", where);
  if (type == "Split") {
    const Json* pattern = find_field(step, "pattern", where);
    const bool plain = string_field(step, "behavior", where) == "Isolated" &&
                       !bool_field(step, "invert", false, where);
    if (!plain || !pattern || !pattern->is_object() || !pattern->contains("Regex")) {
      fail("{}: only a Split by a Regex, Isolated and not inverted, can be said in a GGUF file",
           where);
    }
    patterns.push_back(string_field(*pattern, "Regex", where));
    return false;
  }
  if (type == "Digits") {
    patterns.emplace_back(bool_field(step, "individual_digits", false, where) ? R"(\p{N})"
                                                                              : R"(\p{N}+)");
    return false;
  }
  if (type == "ByteLevel") {
    if (bool_field(step, "add_prefix_space", true, where)) {
      fail("{}: add_prefix_space cannot be said in a GGUF file", where);
    }
    if (bool_field(step, "use_regex", true, where)) patterns.emplace_back(kGpt2Pattern);
    return true;
  }
  fail("{}: a pre-tokenizer {} cannot be said in a GGUF file", where, type);
}

}  // namespace

const std::vector<GgufPreTokenizer>& gguf_pre_tokenizers() {
  static const std::vector<GgufPreTokenizer> all = make_all();
  return all;
}

const GgufPreTokenizer& find_gguf_pre_tokenizer(std::string_view name) {
  std::vector<std::string_view> names;
  for (const GgufPreTokenizer& known : gguf_pre_tokenizers()) {
    if (known.name == name) return known;
    names.push_back(known.name);
  }
  fail("unknown pre-tokenizer '{}', known: {}", name, fmt::join(names, ", "));
}

std::vector<std::string> patterns_of(const Json& pre_tokenizer) {
  const std::string where = "pre_tokenizer";
  if (pre_tokenizer.is_null()) fail("{}: is absent: no byte-level tokenizer", where);
  std::vector<std::string> patterns;
  bool byte_level = false;
  if (string_field(pre_tokenizer, "type", where) == "Sequence") {
    const Json& steps = array_field(pre_tokenizer, "pretokenizers", where);
    for (size_t i = 0; i < steps.size(); ++i) {
      const std::string step = fmt::format("{}.pretokenizers[{}]", where, i);
      if (byte_level) fail("{}: a step after ByteLevel cannot be said in a GGUF file", step);
      byte_level = add_patterns(steps[i], step, patterns);
    }
  } else {
    byte_level = add_patterns(pre_tokenizer, where, patterns);
  }
  if (!byte_level) fail("{}: has no ByteLevel, expected a byte-level tokenizer", where);
  return patterns;
}

}  // namespace dsv3
