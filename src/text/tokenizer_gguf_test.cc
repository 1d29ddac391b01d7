#include "text/tokenizer_gguf.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/gguf_writer.h"
#include "dsv3/chat_template.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/pre_tokenizer.h"
#include "text/test_files.h"

namespace dsv3 {
namespace {

using Ids = std::vector<int64_t>;
namespace fs = std::filesystem;
using namespace gguf_keys;

const fs::path kSource = DSV3_SOURCE_DIR;
const fs::path kGolden = kSource / "tests/golden-text";

void expect_error(const std::function<void()>& f, std::initializer_list<const char*> parts) {
  try {
    f();
    ADD_FAILURE() << "no error naming " << *parts.begin();
  } catch (const Error& e) {
    for (const char* part : parts) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
          << "message: " << e.what() << "\nlacks: " << part;
    }
  }
}

/// A file with no tensors.
fs::path write_file(const TempFolder& folder, const GgufMetadata& metadata) {
  const fs::path path = folder.path() / "model.gguf";
  write_gguf(path, metadata, {});
  return path;
}

/// The tokenizer of a model that went by way of a GGUF file.
Tokenizer by_way_of_gguf(const fs::path& model, const GgufTokenizerOptions& options = {}) {
  const TempFolder folder;
  return Tokenizer::from_file(write_file(folder, TokenizerGguf::make(model, options)));
}

void expect_golden_lines(const Tokenizer& tokenizer, const std::string& file,
                         const std::string& variant) {
  std::ifstream in(kGolden / file, std::ios::binary);
  int lines = 0;
  for (std::string text; std::getline(in, text);) {
    const Json line = Json::parse(text);
    if (!variant.empty() && line["variant"] != variant) continue;
    ++lines;
    SCOPED_TRACE(text.substr(0, 300));
    const Ids ids = line["ids"];
    EXPECT_EQ(tokenizer.encode(line["text"].get<std::string>()), ids);
    EXPECT_EQ(tokenizer.encode(line["text"].get<std::string>(), true), line["ids_special"]);
    EXPECT_EQ(tokenizer.decode(ids), line["decoded"].get<std::string>());
  }
  EXPECT_GT(lines, 50);
}

TEST(TokenizerGgufTest, TheMiniTokenizerGivesTheIdsOfItsJson) {
  expect_golden_lines(by_way_of_gguf(kGolden / "mini-tokenizer.json"), "encode_variants.jsonl",
                      "mini");
}

TEST(TokenizerGgufTest, DeepseeksTokenizerGivesTheIdsOfItsJson) {
  const char* real = std::getenv("DSV3_DEEPSEEK_TOKENIZER");
  if (!real) GTEST_SKIP() << "DSV3_DEEPSEEK_TOKENIZER does not name DeepSeek-V3's tokenizer.json";
  const GgufMetadata metadata = TokenizerGguf::make(real, {.pre = {}, .vocab_size = 129280});
  EXPECT_EQ(metadata.string(kPre), "deepseek-v3");
  EXPECT_EQ(metadata.strings(kTokens).size(), 129280u);
  EXPECT_EQ(metadata.strings(kTokens)[129279], "[PAD129279]");
  const TempFolder folder;
  const Tokenizer tokenizer = Tokenizer::from_file(write_file(folder, metadata));
  EXPECT_EQ(tokenizer.vocab_size(), 128815);
  expect_golden_lines(tokenizer, "encode.jsonl", "");
}

TEST(TokenizerGgufTest, ReadsWhatGgufPyWrites) {
  const fs::path path = kSource / "src/checkpoint/testdata/tokenizer.gguf";
  const Tokenizer tokenizer = Tokenizer::from_file(path);
  EXPECT_EQ(tokenizer.vocab_size(), 265);
  EXPECT_EQ(tokenizer.bos_token_id(), 262);
  EXPECT_EQ(tokenizer.eos_token_id(), 263);
  EXPECT_EQ(tokenizer.added_tokens(), (Ids{262, 263, 264}));
  EXPECT_TRUE(tokenizer.is_special(263));
  EXPECT_EQ(tokenizer.encode_prompt("the owl's the<think><|end|>"),
            (Ids{262, 257, ' ', 260, 261, 258, 264, 263}));
  EXPECT_EQ(tokenizer.decode(Ids{262, 257, 258, 261, 264}, true), "the the's<think>");
  const ChatTemplate chat_template = ChatTemplate::from_folder(path);
  EXPECT_EQ(chat_template.render(R"([{"role": "user", "content": "owl"}])"), "<|begin|>owl");
}

TEST(TokenizerGgufTest, AFolderGivesItsSpecialTokensAndTemplate) {
  const fs::path stories = kSource / "models/stories";
  const TempFolder folder;
  const fs::path path = write_file(folder, TokenizerGguf::make(stories));
  const Tokenizer a = Tokenizer::from_file(stories), b = Tokenizer::from_file(path);
  EXPECT_EQ(b.bos_token_id(), a.bos_token_id());
  EXPECT_EQ(b.eos_token_id(), a.eos_token_id());
  EXPECT_EQ(b.pad_token_id(), a.pad_token_id());
  EXPECT_EQ(b.add_bos_token(), a.add_bos_token());
  EXPECT_EQ(b.vocab_size(), a.vocab_size());
  EXPECT_EQ(b.added_tokens(), a.added_tokens());
  EXPECT_EQ(b.encode_prompt("The little owl"), a.encode_prompt("The little owl"));

  EXPECT_EQ(read_special_tokens(path), read_special_tokens(stories));
  const ChatTemplate x = ChatTemplate::from_folder(stories), y = ChatTemplate::from_folder(path);
  const std::string messages = R"([{"role": "user", "content": "Hello"}])";
  EXPECT_EQ(y.source(), x.source());
  EXPECT_EQ(y.render(messages), x.render(messages));

  // A GGUF file is its own source too.
  const GgufMetadata again = TokenizerGguf::make(path);
  EXPECT_EQ(again.entries(), read_gguf_metadata(path).entries());
}

TEST(TokenizerGgufTest, NamedTemplatesAreKept) {
  const TempFolder folder;
  const std::string tokenizer = read_file(kGolden / "mini-tokenizer.json");
  folder.write("tokenizer.json", tokenizer);
  folder.write("tokenizer_config.json", R"({"bos_token": "<｜begin▁of▁sentence｜>",
    "chat_template": [{"name": "default", "template": "{{bos_token}}plain"},
                      {"name": "tool_use", "template": "with tools"}]})");
  const TempFolder out;
  const fs::path path = write_file(out, TokenizerGguf::make(folder.path()));
  const ChatTemplate chat_template = ChatTemplate::from_folder(path);
  EXPECT_EQ(chat_template.render("[]"), "<｜begin▁of▁sentence｜>plain");
  EXPECT_EQ(chat_template.render("[]", {.tools_json = R"([{"type": "function"}])"}), "with tools");

  const TempFolder bare;
  const fs::path without = write_file(bare, TokenizerGguf::make(kGolden / "mini-tokenizer.json"));
  expect_error([&] { ChatTemplate::from_folder(without); },
               {"model.gguf: no key 'tokenizer.chat_template'"});
}

TEST(TokenizerGgufTest, ControlTokensAreSpecialAndUnusedOnesAreNone) {
  const Tokenizer tokenizer =
      by_way_of_gguf(kGolden / "mini-tokenizer.json", {.pre = {}, .vocab_size = 1000});
  const int64_t user = *tokenizer.token_to_id("<｜User｜>"),
                think = *tokenizer.token_to_id("<think>");
  EXPECT_TRUE(tokenizer.is_special(user));  // though not in the tokenizer.json
  EXPECT_FALSE(tokenizer.is_special(think));
  EXPECT_EQ(tokenizer.decode(Ids{user, think}, true), "<think>");
  EXPECT_EQ(tokenizer.vocab_size(), 913);
  EXPECT_EQ(tokenizer.id_to_token(999), std::nullopt);
  EXPECT_EQ(tokenizer.token_to_id("[PAD999]"), std::nullopt);
  EXPECT_EQ(tokenizer.decode(Ids{999}), "");
  EXPECT_NE(tokenizer.encode("[PAD999]"), Ids{999});
}

TEST(TokenizerGgufTest, EndsThatOnlyTheGenerationConfigNamesAreKept) {
  const TempFolder folder;
  folder.write("tokenizer.json", read_file(kGolden / "mini-tokenizer.json"));
  folder.write("config.json", R"({"bos_token_id": 0, "eos_token_id": 1})");
  folder.write("generation_config.json", R"({"eos_token_id": [900, 1, 901]})");
  const GgufMetadata m = TokenizerGguf::make(folder.path());
  EXPECT_EQ(m.integer(kBos), 0);
  EXPECT_EQ(m.integer(kEos), 1);
  EXPECT_EQ(m.integer(kEndOfTurn), 900);
  EXPECT_EQ(m.integer(kEndOfMessage), 901);
  EXPECT_FALSE(m.boolean(kAddBos));
}

GgufMetadata mini() { return TokenizerGguf::make(kGolden / "mini-tokenizer.json"); }

TEST(TokenizerGgufTest, TheFilesOwnFlagsDecideWhatIsAdded) {
  GgufMetadata m = mini();
  m.set(kBos, uint32_t{0});
  m.set(kEos, uint32_t{1});
  m.set(kAddBos, true);
  m.set(kAddEos, true);
  const Tokenizer tokenizer = TokenizerGguf::read(m);
  const Ids plain = tokenizer.encode("owl");
  Ids around = {0};
  around.insert(around.end(), plain.begin(), plain.end());
  around.push_back(1);
  EXPECT_EQ(tokenizer.encode_prompt("owl"), around);
  // Llama 3's name means BOS if the file says nothing.
  m.erase(kAddBos);
  EXPECT_FALSE(TokenizerGguf::read(m).add_bos_token());
  m.set(kPre, std::string("llama-bpe"));
  EXPECT_TRUE(TokenizerGguf::read(m).add_bos_token());
}

TEST(TokenizerGgufTest, WhatIsWrongIsNamed) {
  const auto expect_refused = [](const GgufMetadata& m, std::initializer_list<const char*> parts) {
    expect_error([&] { TokenizerGguf::read(m); }, parts);
  };
  const auto with = [](const char* key, const GgufValue& value) {
    GgufMetadata m = mini();
    m.set(key, value);
    return m;
  };
  const auto without = [](const char* key) {
    GgufMetadata m = mini();
    m.erase(key);
    return m;
  };
  expect_refused(without(kModel), {"no key 'tokenizer.ggml.model', expected a string"});
  expect_refused(with(kModel, std::string("llama")),
                 {"key 'tokenizer.ggml.model' is 'llama', expected 'gpt2'"});
  expect_refused(without(kPre), {"no key 'tokenizer.ggml.pre'"});
  expect_refused(with(kPre, std::string("klingon")),
                 {"tokenizer.ggml.pre", "unknown pre-tokenizer 'klingon', known: deepseek-v3, "});
  expect_refused(without(kTokens), {"no key 'tokenizer.ggml.tokens', expected a list of strings"});
  expect_refused(with(kTokens, uint32_t{5}), {"expected a list of strings, found the integer 5"});
  expect_refused(without(kMerges), {"no key 'tokenizer.ggml.merges'"});
  expect_refused(with(kTokens, GgufStrings{"a", "b"}),
                 {"key 'tokenizer.ggml.token_type' has 913 entries, but there are 2 tokens"});
  expect_refused(with(kTokenTypes, std::vector<int32_t>(913, 7)), {"token 0 has type 7"});
  expect_refused(with(kMerges, GgufStrings{"ab"}), {"merge 0 is 'ab'", "a space between"});
  expect_refused(with(kMerges, GgufStrings{"Ġ t", "q q"}),
                 {"merge 1 is 'q q', but 'qq' is no token"});
  expect_refused(with(kBos, uint32_t{913}),
                 {"key 'tokenizer.ggml.bos_token_id' is 913", "913 tokens"});
  expect_refused(with(kAddBos, true), {"'tokenizer.ggml.add_bos_token' is true", "no key"});
  expect_refused(with("tokenizer.ggml.normalizer.lowercase", true), {"lowercase", "not supported"});
  GgufMetadata m = mini();
  m.set(kTokens, GgufStrings{"a", "b", "a"});
  m.erase(kTokenTypes);
  expect_refused(m, {"tokenizer.ggml.tokens", "token 'a' has two ids, 0 and 2"});
  m.set(kTokens, GgufStrings{"a", "\xFF"});
  expect_refused(m, {"token 1", "not valid UTF-8"});
}

TEST(TokenizerGgufTest, WhatAGgufFileCannotSayIsNamed) {
  const std::string text = read_file(kGolden / "mini-tokenizer.json");
  const auto expect_refused = [&](const char* pointer, const Json& value,
                                  std::initializer_list<const char*> parts,
                                  const GgufTokenizerOptions& options = {}) {
    Json json = Json::parse(text);
    json[Json::json_pointer(pointer)] = value;
    const TempFolder folder;
    const fs::path path = folder.write("tokenizer.json", json.dump());
    expect_error([&] { TokenizerGguf::make(path, options); }, parts);
  };
  expect_refused(
      "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\p{N}{1,4}",
      {"tokenizer.json: pre_tokenizer: GGUF has no name", "\\p{N}{1,4}", "give the name"});
  expect_refused("/pre_tokenizer/pretokenizers/0/behavior", "Removed",
                 {"pre_tokenizer.pretokenizers[0]", "Isolated"});
  expect_refused("/normalizer", {{"type", "NFD"}}, {"normalizer", "NFD"});
  expect_refused("/version", "1.0", {"ids up to 912, but the model only 900 tokens"},
                 {.pre = {}, .vocab_size = 900});
  expect_refused("/version", "1.0", {"unknown pre-tokenizer 'klingon'"},
                 {.pre = "klingon", .vocab_size = 0});

  Json json = Json::parse(text);
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\p{N}{1,4}";
  json["normalizer"] = {{"type", "NFC"}};
  const TempFolder folder;
  const GgufMetadata m = TokenizerGguf::make(folder.write("tokenizer.json", json.dump()),
                                             {.pre = "qwen2", .vocab_size = 0});
  EXPECT_EQ(m.string(kPre), "qwen2");
  EXPECT_EQ(TokenizerGguf::read(m).encode("e\u0301"), TokenizerGguf::read(m).encode("\u00E9"));
}

TEST(TokenizerGgufTest, IgnoreMergesMatters) {
  Json json = read_json_file(kGolden / "mini-tokenizer.json");
  const TempFolder folder;
  const auto pre = [&] {
    return TokenizerGguf::make(folder.write("tokenizer.json", json.dump())).string(kPre);
  };
  // Here the merges make every token of its own text, so that it does not.
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(pre(), "deepseek-v3");
  json["model"]["merges"].erase(json["model"]["merges"].end() - 1);
  expect_error(pre, {"model.ignore_merges is true", "'deepseek-v3'"});
  // Llama 3's pattern has a name for either.
  json["pre_tokenizer"] = pre_tokenizer_json(find_gguf_pre_tokenizer("llama-bpe").patterns);
  EXPECT_EQ(pre(), "llama-bpe");
  json["model"]["ignore_merges"] = false;
  EXPECT_EQ(pre(), "smaug-bpe");
}

TEST(GgufPreTokenizerTest, EveryNameIsFoundByItsPatterns) {
  for (const GgufPreTokenizer& known : gguf_pre_tokenizers()) {
    SCOPED_TRACE(known.name);
    const std::vector<std::string> patterns = patterns_of(pre_tokenizer_json(known.patterns));
    EXPECT_TRUE(
        std::equal(patterns.begin(), patterns.end(), known.patterns.begin(), known.patterns.end()));
    // And the patterns are ones that we can run.
    const PreTokenizer pre = PreTokenizer::from_json(pre_tokenizer_json(known.patterns));
    std::string joined;
    const std::string text = "It's 12345 owls, naïve ÉCOLE\r\n\n  漢字かな 한글!?  ";
    pre.split({text}, [&](std::string_view piece) { joined += piece; });
    EXPECT_EQ(joined, text);
  }
}

}  // namespace
}  // namespace dsv3
