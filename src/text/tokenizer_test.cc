#include "dsv3/tokenizer.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "base/json.h"
#include "text/test_files.h"

namespace dsv3 {
namespace {

using Ids = std::vector<int64_t>;

const std::filesystem::path kMini =
    std::filesystem::path(DSV3_SOURCE_DIR) / "tests/golden-text/mini-tokenizer.json";

Json mini() { return read_json_file(kMini); }

Tokenizer load(const Json& json) {
  const TempFolder folder;
  return Tokenizer::from_file(folder.write("tokenizer.json", json.dump()));
}

/// Pieces that a pre-tokenizer cuts a text into, seen through a vocabulary where whole pieces are
/// tokens: here by decoding token by token, of a tokenizer without merges inside of the pieces.
Json with_steps(const Json& steps) {
  Json json = mini();
  Json all = steps;
  all.push_back({{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", false}});
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", all}};
  return json;
}

/// With add_prefix_space each piece that has no space in front gets one: that shows the cuts.
std::string cuts(const Json& step, std::string_view text) {
  const Tokenizer tokenizer = load(with_steps(Json::array({step})));
  return tokenizer.decode(tokenizer.encode(text));
}

void expect_error(const std::string& text, const std::vector<std::string>& parts) {
  const TempFolder folder;
  const auto path = folder.write("tokenizer.json", text);
  try {
    Tokenizer::from_file(path);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    const std::string message = e.what();
    EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
    EXPECT_LT(message.size(), 1000u);
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << message << "\nexpected: " << part;
    }
  }
}

TEST(TokenizerTest, SpecialTextsOfUsersStayTextWhenNotAllowed) {
  const Tokenizer tokenizer = Tokenizer::from_file(kMini);
  const std::string text = "<｜User｜>hi<｜end▁of▁sentence｜>";
  const int64_t user = tokenizer.token_to_id("<｜User｜>").value();
  EXPECT_EQ(tokenizer.encode(text).front(), user);
  EXPECT_EQ(tokenizer.encode(text).back(), 1);
  const Ids plain = tokenizer.encode(text, false, /*allow_special=*/false);
  for (const int64_t id : plain) EXPECT_TRUE(id != user && !tokenizer.is_special(id));
  EXPECT_EQ(tokenizer.decode(plain), text);
}

TEST(TokenizerTest, OnlyTokensMarkedSpecialAreSkipped) {
  const Tokenizer tokenizer = Tokenizer::from_file(kMini);
  const Ids ids = tokenizer.encode("<｜begin▁of▁sentence｜><｜User｜>hi");
  EXPECT_EQ(tokenizer.decode(ids, true), "<｜User｜>hi");
}

TEST(TokenizerTest, IdsWithoutATokenDecodeToNothing) {
  const Tokenizer tokenizer = Tokenizer::from_file(kMini);
  EXPECT_EQ(tokenizer.decode(Ids{-1, 5000, INT64_MAX, INT64_MIN}), "");
  EXPECT_EQ(tokenizer.id_to_token(5000), std::nullopt);
  EXPECT_EQ(tokenizer.token_bytes(-1), "");
  EXPECT_FALSE(tokenizer.is_special(-1));
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
}

TEST(TokenizerTest, TokensAreShownAsTheFileWritesThem) {
  const Tokenizer tokenizer = Tokenizer::from_file(kMini);
  const int64_t id = tokenizer.token_to_id("Ġthe").value();
  EXPECT_EQ(tokenizer.id_to_token(id), "Ġthe");
  EXPECT_EQ(tokenizer.token_bytes(id), " the");
  EXPECT_EQ(tokenizer.token_bytes(0), "<｜begin▁of▁sentence｜>");
}

TEST(TokenizerTest, PromptGetsOneBos) {
  const TempFolder folder;
  folder.write("tokenizer.json", mini().dump());
  folder.write("tokenizer_config.json",
               R"({"add_bos_token": true, "bos_token": {"content": "<｜begin▁of▁sentence｜>"},
                   "eos_token": "<｜end▁of▁sentence｜>", "pad_token": null,
                   "model_max_length": 1000000000000000019884624838656})");
  const Tokenizer tokenizer = Tokenizer::from_file(folder.path());
  EXPECT_EQ(tokenizer.bos_token_id(), 0);
  EXPECT_EQ(tokenizer.eos_token_id(), 1);
  EXPECT_EQ(tokenizer.pad_token_id(), std::nullopt);
  EXPECT_EQ(tokenizer.model_max_length(), std::nullopt);
  EXPECT_EQ(tokenizer.encode_prompt(""), Ids{0});
  const Ids once = tokenizer.encode_prompt("hi");
  EXPECT_EQ(once.front(), 0);
  EXPECT_EQ(tokenizer.encode_prompt("<｜begin▁of▁sentence｜>hi"), once);
  EXPECT_NE(tokenizer.encode("hi").front(), 0);
}

TEST(TokenizerTest, TruncationAndPaddingAreLeftToTheCaller) {
  Json json = mini();
  json["truncation"] = Json::parse(
      R"({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0})");
  json["padding"] = Json::parse(R"({"strategy": {"Fixed": 50}, "direction": "Right", "pad_id": 2,
      "pad_type_id": 0, "pad_token": "<｜▁pad▁｜>", "pad_to_multiple_of": null})");
  const std::string_view text = "the whole text of a prompt";
  EXPECT_EQ(load(json).encode(text), load(mini()).encode(text));
}

TEST(TokenizerTest, TemplateProcessingAddsItsTokens) {
  Json json = mini();
  json["post_processor"] = Json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<b>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "<e>", "type_id": 0}}],
      "special_tokens": {"<b>": {"id": "<b>", "ids": [0], "tokens": ["<b>"]},
                         "<e>": {"id": "<e>", "ids": [1, 2], "tokens": ["<e>", "<p>"]}}})");
  const Tokenizer tokenizer = load(json);
  EXPECT_EQ(tokenizer.encode("", true), (Ids{0, 1, 2}));
  EXPECT_EQ(tokenizer.encode("", false), Ids{});
  const Json one = json["post_processor"];
  json["post_processor"] = {{"type", "Sequence"}, {"processors", {{{"type", "ByteLevel"}}, one}}};
  EXPECT_EQ(load(json).encode("", true), (Ids{0, 1, 2}));
  json["post_processor"]["processors"].push_back(one);
  expect_error(json.dump(), {"post_processor", "a TemplateProcessing after another"});
  json["post_processor"] = one;
  json["post_processor"]["special_tokens"]["<e>"]["ids"] = {123456};
  expect_error(json.dump(), {"post_processor", "123456"});
}

// The expected strings are those of Hugging Face tokenizers 0.23.1.
TEST(PreTokenizerTest, BehavioursOfSplit) {
  const auto split = [](const char* behavior, bool invert) {
    const Json step = {{"type", "Split"}, {"pattern", {{"Regex", "-"}}},
                       {"behavior", behavior}, {"invert", invert}};
    return cuts(step, "the-final--countdown");
  };
  EXPECT_EQ(split("Removed", false), " the final countdown");
  EXPECT_EQ(split("Isolated", false), " the - final - - countdown");
  EXPECT_EQ(split("MergedWithPrevious", false), " the- final- - countdown");
  EXPECT_EQ(split("MergedWithNext", false), " the -final - -countdown");
  EXPECT_EQ(split("Contiguous", false), " the - final -- countdown");
  EXPECT_EQ(split("Removed", true), " - - -");
  EXPECT_EQ(split("MergedWithPrevious", true), " the -final - -countdown");
}

TEST(PreTokenizerTest, StepsOfOtherKinds) {
  EXPECT_EQ(cuts({{"type", "Digits"}, {"individual_digits", true}}, "a12½b"), " a 1 2 ½ b");
  EXPECT_EQ(cuts({{"type", "Digits"}}, "a12½b"), " a 12½ b");
  EXPECT_EQ(cuts({{"type", "Punctuation"}}, "a+b,c。"), " a + b , c 。");
  EXPECT_EQ(cuts({{"type", "WhitespaceSplit"}}, "a,b\u3000c\n"), " a,b c");
  EXPECT_EQ(cuts({{"type", "Whitespace"}}, "a,,b\u3000c_1\n"), " a ,, b c_1");
  EXPECT_EQ(cuts({{"type", "Split"}, {"pattern", {{"String", ".*"}}}, {"behavior", "Removed"}},
                 "a.*b"),
            " a b");
}

TEST(MalformedTokenizerTest, EachFaultIsNamed) {
  struct Case {
    std::function<void(Json&)> spoil;
    std::vector<std::string> expected;
  };
  const Case cases[] = {
      {[](Json& j) { j.erase("model"); }, {"'model' is absent"}},
      {[](Json& j) { j["model"] = 3; }, {"model", "number"}},
      {[](Json& j) { j["model"]["type"] = "Unigram"; }, {"model.type", "Unigram"}},
      {[](Json& j) { j["model"] = {{"type", "WordPiece"}, {"vocab", {{"a", 1}}}}; },
       {"model.type", "WordPiece"}},
      {[](Json& j) { j["model"].erase("vocab"); }, {"model.vocab"}},
      {[](Json& j) { j["model"]["vocab"] = Json::array({"a"}); }, {"model.vocab"}},
      {[](Json& j) { j["model"]["vocab"]["a"] = "x"; }, {"model.vocab", "'a'", "a string"}},
      {[](Json& j) { j["model"]["vocab"]["a"] = 1.5; }, {"model.vocab", "'a'", "fraction"}},
      {[](Json& j) { j["model"]["vocab"]["a"] = nullptr; }, {"model.vocab", "'a'", "null"}},
      {[](Json& j) { j["model"]["vocab"]["a"] = -1; }, {"model.vocab", "'a'", "-1"}},
      {[](Json& j) { j["model"]["vocab"]["a"] = 4'000'000'000; }, {"model.vocab", "4000000000"}},
      {[](Json& j) { j["model"]["vocab"]["a"] = UINT64_MAX; }, {"model.vocab", "'a'"}},
      {[](Json& j) { j["model"]["vocab"]["a"] = 20; }, {"model.vocab", "20", "two tokens"}},
      {[](Json& j) { j["model"].erase("merges"); }, {"model.merges"}},
      {[](Json& j) { j["model"]["merges"] = "a b"; }, {"model.merges"}},
      {[](Json& j) { j["model"]["merges"][3] = 7; }, {"model.merges[3]", "a number"}},
      {[](Json& j) { j["model"]["merges"][3] = "ab"; }, {"model.merges[3]", "'ab'"}},
      {[](Json& j) { j["model"]["merges"][3] = "a b c"; }, {"model.merges[3]"}},
      {[](Json& j) { j["model"]["merges"][3] = {"a"}; }, {"model.merges[3]"}},
      {[](Json& j) { j["model"]["merges"][3] = {"a", "b", "c"}; }, {"model.merges[3]"}},
      {[](Json& j) { j["model"]["merges"][3] = {"a", 1}; }, {"model.merges[3]", "a number"}},
      {[](Json& j) { j["model"]["merges"][3] = {{{"a", 1}}}; }, {"model.merges[3]"}},
      {[](Json& j) { j["model"]["merges"][3] = "qq zz"; }, {"model.merges[3]", "'qq'"}},
      {[](Json& j) { j["model"]["merges"][3] = "a !"; }, {"model.merges[3]", "'a!'"}},
      {[](Json& j) { j["model"]["unk_token"] = "<none>"; }, {"model.unk_token", "<none>"}},
      {[](Json& j) { j["model"]["ignore_merges"] = 1; }, {"ignore_merges", "true or false"}},
      {[](Json& j) { j["model"]["dropout"] = 0.1; }, {"dropout", "0.1"}},
      {[](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, {"end_of_word_suffix", "</w>"}},
      {[](Json& j) { j["added_tokens"] = 1; }, {"added_tokens", "array"}},
      {[](Json& j) { j["added_tokens"][1] = 1; }, {"added_tokens[1]", "object"}},
      {[](Json& j) { j["added_tokens"][1].erase("content"); }, {"added_tokens[1]", "content"}},
      {[](Json& j) { j["added_tokens"][1]["content"] = ""; }, {"added_tokens[1]", "empty"}},
      {[](Json& j) { j["added_tokens"][4].erase("id"); }, {"added_tokens[4]", "'id'"}},
      {[](Json& j) { j["added_tokens"][4]["id"] = -4; }, {"added_tokens[4]", "-4"}},
      {[](Json& j) { j["added_tokens"][4]["id"] = UINT64_MAX; }, {"added_tokens[4]"}},
      {[](Json& j) { j["added_tokens"][4]["id"] = 10; }, {"added_tokens[4]", "10"}},
      {[](Json& j) { j["added_tokens"][4] = j["added_tokens"][3]; j["added_tokens"][4]["id"] = 950; },
       {"added_tokens[4]", "two ids"}},
      {[](Json& j) { j["added_tokens"][1]["lstrip"] = "no"; }, {"added_tokens[1]", "lstrip"}},
      {[](Json& j) { j["normalizer"] = {{"type", "BertNormalizer"}}; },
       {"normalizer 'BertNormalizer'"}},
      {[](Json& j) { j["normalizer"]["normalizers"] = {{{"type", "Nmt"}}}; },
       {"normalizer.normalizers[0]", "normalizer 'Nmt'"}},
      {[](Json& j) { j["normalizer"] = {{"type", "Precompiled"}}; }, {"normalizer 'Precompiled'"}},
      {[](Json& j) { j["normalizer"] = {{"type", "Prepend"}}; },
       {"normalizer (Prepend)", "prepend"}},
      {[](Json& j) {
         j["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", ""}};
       },
       {"normalizer (Replace)", "empty"}},
      {[](Json& j) { j["normalizer"] = 5; }, {"normalizer"}},
      {[](Json& j) { j["pre_tokenizer"] = {{"type", "BertPreTokenizer"}}; },
       {"'BertPreTokenizer'"}},
      {[](Json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}}; },
       {"pre_tokenizer (Metaspace)", "replacement"}},
      {[](Json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "__"}}; },
       {"pre_tokenizer (Metaspace)", "'__'", "one character"}},
      {[](Json& j) {
         j["pre_tokenizer"] = {
             {"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "odd"}};
       },
       {"pre_tokenizer (Metaspace)", "'odd'"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][1].erase("pattern"); },
       {"pre_tokenizer.pretokenizers[1]", "pattern"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["pattern"] = {{"Regex", "(a"}}; },
       {"pre_tokenizer.pretokenizers[1]", "(a", "byte 2"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["pattern"] = {{"Regex", ""}}; },
       {"pre_tokenizer.pretokenizers[1]", "empty"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["behavior"] = "Odd"; }, {"'Odd'"}},
      {[](Json& j) { j["post_processor"] = {{"type", "RobertaProcessing"}}; },
       {"post_processor", "'RobertaProcessing'"}},
      {[](Json& j) { j["decoder"] = {{"type", "WordPiece"}}; }, {"decoder 'WordPiece'"}},
      {[](Json& j) { j["decoder"] = {{"type", "Strip"}, {"content", " "}, {"start", -1}}; },
       {"decoder (Strip)", "start", "-1"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.expected.back());
    Json json = mini();
    c.spoil(json);
    expect_error(json.dump(), c.expected);
  }
  expect_error("", {"not valid JSON"});
  expect_error("[]", {"array", "object"});
  expect_error(std::string(100000, '['), {"nested"});
  expect_error(R"({"model": {"vocab": {"\ud800": 1}}})", {"not valid JSON"});
  expect_error("{\"model\": \"\xFF\"}", {"not valid JSON"});
  EXPECT_THROW(Tokenizer::from_file("/no/such/tokenizer.json"), Error);
}

TEST(MalformedTokenizerTest, EachTruncationIsAnError) {
  const std::string text = mini().dump();
  for (size_t size = 0; size < text.size(); size += 211) {
    expect_error(text.substr(0, size), {"not valid JSON"});
  }
}

TEST(MalformedTokenizerTest, RandomDamageNeverCrashes) {
  const std::string original = mini().dump();
  const TempFolder folder;
  std::mt19937 random(7);
  int loaded = 0;
  for (int round = 0; round < 500; ++round) {
    std::string text = original;
    for (int i = 0; i < 3; ++i) text[random() % text.size()] = "\"{}[]:,0a \\-"[random() % 12];
    try {
      const Tokenizer tokenizer = Tokenizer::from_file(folder.write("tokenizer.json", text));
      tokenizer.decode(tokenizer.encode("Hello <｜User｜> 123 中文\xFF"));
      ++loaded;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(loaded, 0);
}

TEST(MalformedTokenizerTest, ConfigFaultsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"bos_token": 5})", "bos_token"},
      {R"({"eos_token": {"content": 5}})", "eos_token"},
      {R"({"pad_token": "<nowhere>"})", "<nowhere>"},
      {R"({"add_bos_token": "yes"})", "add_bos_token"},
      {R"({"add_bos_token": true})", "bos_token"},
      {R"({"model_max_length": "long"})", "model_max_length"},
      {R"({"model_max_length": -1})", "model_max_length"},
      {R"([])", "object"},
      {R"({)", "not valid JSON"},
  };
  for (const auto& [config, expected] : cases) {
    SCOPED_TRACE(config);
    const TempFolder folder;
    folder.write("tokenizer.json", mini().dump());
    folder.write("tokenizer_config.json", config);
    try {
      Tokenizer::from_file(folder.path());
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      const std::string message = e.what();
      EXPECT_NE(message.find("tokenizer_config.json"), std::string::npos) << message;
      EXPECT_NE(message.find(expected), std::string::npos) << message;
    }
  }
}

}  // namespace
}  // namespace dsv3
