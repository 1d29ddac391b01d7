// The tokenizers that encode_fuzz and decode_fuzz choose from: one of each kind.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "dsv3/tokenizer.h"

namespace dsv3::fuzz {

struct Subject {
  Tokenizer tokenizer;
  bool lossless;  // encode loses nothing of valid text: decode gives it back
};

class Subjects {
 public:
  Subjects() {
    folder_ = std::filesystem::temp_directory_path() / ("dsv3-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    const std::filesystem::path mini =
        std::filesystem::path(DSV3_SOURCE_DIR) / "tests/golden-text/mini-tokenizer.json";
    all_.push_back({Tokenizer::from_file(mini), true});

    Json json = read_json_file(mini);
    json["pre_tokenizer"] = Json::parse(R"({"type": "ByteLevel", "add_prefix_space": false})");
    json["model"]["ignore_merges"] = true;
    all_.push_back({load(json), true});
    for (Json& token : json["added_tokens"]) {
      const int id = token["id"].get<int>();
      token["lstrip"] = id % 2 == 0;
      token["rstrip"] = id % 3 == 0;
      token["single_word"] = id % 5 == 0;
      token["normalized"] = id % 7 < 3;
      token["special"] = id % 11 < 5;
    }
    json["normalizer"] = Json::parse(R"json({"type": "Sequence", "normalizers": [{"type": "NFC"},
        {"type": "Lowercase"}, {"type": "StripAccents"},
        {"type": "Strip", "strip_left": true, "strip_right": false},
        {"type": "Replace", "pattern": {"Regex": " {2,}|\\p{P}+(?=\\p{L})"}, "content": "-"}]})json");
    json["pre_tokenizer"] = Json::parse(R"({"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "MergedWithPrevious"},
        {"type": "Digits", "individual_digits": true}, {"type": "Whitespace"},
        {"type": "Split", "pattern": {"String": "ab"}, "behavior": "MergedWithNext", "invert": true},
        {"type": "ByteLevel", "add_prefix_space": true, "use_regex": false},
        {"type": "Split", "pattern": {"Regex": "\\w+?|."}, "behavior": "Contiguous"}]})");
    json["decoder"] = Json::parse(R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"},
        {"type": "Strip", "content": " ", "start": 2, "stop": 0}]})");
    all_.push_back({load(json), false});

    json = character_model();
    json["added_tokens"] = added_tokens();
    json["pre_tokenizer"] = Json::parse(R"({"type": "Metaspace", "replacement": "▁",
        "prepend_scheme": "first"})");
    json["decoder"] = Json::parse(R"({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
    all_.push_back({load(json), false});
    json["normalizer"] = Json::parse(R"({"type": "Sequence", "normalizers": [{"type": "NFKD"},
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "NFKC"}]})");
    json["pre_tokenizer"] = nullptr;
    json["decoder"] = Json::parse(R"({"type": "Metaspace", "replacement": "▁"})");
    json["model"]["fuse_unk"] = true;
    json["model"]["unk_token"] = "a";
    json["model"]["byte_fallback"] = false;
    all_.push_back({load(json), false});
    json["decoder"] = nullptr;
    all_.push_back({load(json), false});

    std::ofstream(folder_ / "tiktoken.model") << tiktoken_model();
    std::filesystem::remove(folder_ / "tokenizer.json");
    all_.push_back({Tokenizer::from_file(folder_), true});
    std::filesystem::remove_all(folder_);
  }

  const Subject& choose(uint8_t byte) const { return all_[byte % all_.size()]; }

 private:
  Tokenizer load(const Json& json) const {
    std::ofstream(folder_ / "tokenizer.json") << json.dump();
    return Tokenizer::from_file(folder_ / "tokenizer.json");
  }

  static Json character_model() {
    Json vocab = Json::object();
    Json merges = Json::array();
    const auto add = [&](const std::string& token) {
      if (!vocab.contains(token)) vocab[token] = vocab.size();
    };
    constexpr char kDigits[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; ++byte) {
      add(std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">");
    }
    for (const char* c : {"▁", "a", "b", "c", "h", "e", "t", "é", "中", "文", "😀", "\u0301", "1"}) {
      add(c);
    }
    constexpr const char* kMerges[][2] = {{"▁", "t"},   {"h", "e"},   {"▁t", "he"}, {"a", "b"},
                                          {"ab", "c"},  {"a", "a"},   {"aa", "aa"}, {"▁", "▁"},
                                          {"▁▁", "▁▁"}, {"中", "文"}, {"b", "a"},   {"é", "é"}};
    for (const auto& [left, right] : kMerges) {
      add(std::string(left) + right);
      merges.push_back({left, right});
    }
    return {{"model",
             {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}, {"byte_fallback", true}}}};
  }

  static Json added_tokens() {
    return Json::parse(R"([{"id": 400, "content": "<s>", "special": true},
        {"id": 401, "content": "<|x|>", "lstrip": true, "rstrip": true, "normalized": false},
        {"id": 402, "content": "cab", "single_word": true, "normalized": true},
        {"id": 403, "content": " e\u0301", "normalized": true, "special": true}])");
  }

  static std::string tiktoken_model() {
    constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    int rank = 0;
    const auto add = [&](std::string_view bytes) {
      for (size_t i = 0; i < bytes.size(); i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; ++j) {
          bits = bits << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0);
        }
        for (size_t j = 0; j < 4; ++j) {
          text += i + j <= bytes.size() ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
        }
      }
      text += ' ' + std::to_string(rank++) + '\n';
    };
    for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(255 - byte)));
    for (const char* token :
         {"th", "he", "the", " t", " the", "中", "中文", "ab", "bc", "abc", "  ", "    ", "\n\n",
          "12", "123", "'s", "aa", "aaa", "not a row of parts"}) {
      add(token);
    }
    return text;
  }

  std::filesystem::path folder_;
  std::vector<Subject> all_;
};

inline const Subjects& subjects() {
  static const Subjects all;
  return all;
}

}  // namespace dsv3::fuzz
