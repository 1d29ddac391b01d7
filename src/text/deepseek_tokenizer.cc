#include "text/deepseek_tokenizer.h"

#include <iterator>
#include <string_view>

#include "text/byte_level.h"
#include "text/deepseek_scanner.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

constexpr const char* kBos = "<｜begin▁of▁sentence｜>";
constexpr const char* kEos = "<｜end▁of▁sentence｜>";
constexpr const char* kPad = "<｜▁pad▁｜>";
constexpr const char* kFirstTokens[] = {kBos, kEos, kPad};
constexpr const char* kLastTokens[] = {"<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>",
                                       "<｜User｜>", "<｜Assistant｜>"};
static_assert(std::size(kFirstTokens) + std::size(kLastTokens) == kDeepseekSpecialTokens);

constexpr const char* kChatTemplate =
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
    "{% endif %}{% set ns = namespace(system_prompt='', is_first_sp=true) %}"
    "{%- for message in messages %}{%- if message['role'] == 'system' %}"
    "{%- if ns.is_first_sp %}"
    "{% set ns.system_prompt = ns.system_prompt + message['content'] %}"
    "{% set ns.is_first_sp = false %}{%- else %}"
    "{% set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] %}"
    "{%- endif %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}"
    "{%- for message in messages %}{%- if message['role'] == 'user' %}"
    "{{'<｜User｜>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' and message['content'] is not none %}"
    "{{'<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- endif %}"
    "{%- endfor -%}{% if add_generation_prompt %}{{'<｜Assistant｜>'}}{% endif %}";

/// Bytes as the letters that stand for them.
std::string letters_of(std::string_view bytes) {
  std::string letters;
  for (const char c : bytes) append_utf8(letters, byte_level_letter(static_cast<uint8_t>(c)));
  return letters;
}

// Only the first three are special: decoding without special tokens keeps the others.
Json added_token(int64_t id, const char* content, bool special) {
  return {{"id", id},        {"content", content},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", !special}, {"special", special}};
}

Json config_token(const char* content) {
  return {{"__type", "AddedToken"}, {"content", content}, {"lstrip", false},
          {"normalized", true},     {"rstrip", false},    {"single_word", false}};
}

Json byte_level_json(bool add_prefix_space, bool trim_offsets) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", true}};
}

}  // namespace

Json deepseek_tokenizer_json(const LearnedBpe& bpe) {
  Json added = Json::array(), merges = Json::array();
  Json::object_t vocab;  // filled at its end, without the search for each key that json[key] makes
  int64_t id = 0;
  for (const char* token : kFirstTokens) {
    added.push_back(added_token(id, token, true));
    vocab.push_back({token, id++});
  }
  std::vector<std::string> letters;
  for (const std::string& token : bpe.tokens) {
    letters.push_back(letters_of(token));
    vocab.push_back({letters.back(), id++});
  }
  for (const auto& [left, right] : bpe.merges) {
    // No letter is a space.
    merges.push_back(letters[static_cast<size_t>(left)] + " " +
                     letters[static_cast<size_t>(right)]);
  }
  for (const char* token : kLastTokens) added.push_back(added_token(id++, token, false));
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", Json::array()}}},
          {"pre_tokenizer", pre_tokenizer_json(DeepseekScanner::patterns())},
          {"post_processor", byte_level_json(true, false)},
          {"decoder", byte_level_json(true, true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", std::move(vocab)},
            {"merges", merges}}}};
}

Json deepseek_tokenizer_config() {
  return {{"add_bos_token", true},
          {"add_eos_token", false},
          {"bos_token", config_token(kBos)},
          {"clean_up_tokenization_spaces", false},
          {"eos_token", config_token(kEos)},
          {"legacy", true},
          {"pad_token", config_token(kPad)},
          {"sp_model_kwargs", Json::object()},
          {"unk_token", nullptr},
          {"tokenizer_class", "PreTrainedTokenizerFast"},
          {"chat_template", kChatTemplate}};
}

}  // namespace dsv3
