// Normalizers, Metaspace, byte fallback and decoders. The expected values are those of Hugging Face
// tokenizers 0.23.1.

#include <gtest/gtest.h>

#include <span>

#include "base/json.h"
#include "dsv3/tokenizer.h"
#include "text/normalizer.h"
#include "text/test_files.h"

namespace dsv3 {
namespace {

using Ids = std::vector<int64_t>;

std::string normalized(const char* json, std::string_view text) {
  size_t front = 0;
  return Normalizer::from_json(Json::parse(json)).apply(text, front);
}

TEST(NormalizerTest, NormalForms) {
  EXPECT_EQ(normalized(R"({"type": "NFC"})", "e\u0301가\u1100\u1161\u11A8 ﬁ"), "é가각 ﬁ");
  EXPECT_EQ(normalized(R"({"type": "NFD"})", "é각ﬁ"), "e\u0301\u1100\u1161\u11A8ﬁ");
  EXPECT_EQ(normalized(R"({"type": "NFKC"})", "ﬁ①Å½"), "fi1Å1\u20442");
  EXPECT_EQ(normalized(R"({"type": "NFKD"})", "ﬁé㎏"), "fie\u0301kg");
  // Marks are put in order; a mark of the same class stays in the way.
  EXPECT_EQ(normalized(R"({"type": "NFD"})", "a\u0301\u0323"), "a\u0323\u0301");
  EXPECT_EQ(normalized(R"({"type": "NFC"})", "a\u0302\u0301\u0323"), "ậ\u0301");
  EXPECT_EQ(normalized(R"({"type": "NFC"})", "a\u0305\u0301"), "a\u0305\u0301");
}

TEST(NormalizerTest, TheFrontEndsWhereMarksOfOtherCharactersAreSortedIn) {
  const Normalizer nfd = Normalizer::from_json(Json::parse(R"({"type": "NFD"})"));
  size_t front = 2;
  EXPECT_EQ(nfd.apply("åx", front), "a\u030Ax");
  EXPECT_EQ(front, 3u);
  front = 2;
  EXPECT_EQ(nfd.apply("å\u0308\u05B0", front), "a\u05B0\u030A\u0308");
  EXPECT_EQ(front, 1u);
  front = 2;
  EXPECT_EQ(nfd.apply("\u0308\u05B0", front), "\u05B0\u0308");
  EXPECT_EQ(front, 2u);
}

TEST(NormalizerTest, TablesAreThoseOfUnicode9) {
  EXPECT_EQ(normalized(R"({"type": "NFKC"})", "\u32FF"), "\u32FF");  // of Unicode 12.1
  EXPECT_EQ(normalized(R"({"type": "NFD"})", "\U00011938"), "\U00011938");
}

TEST(NormalizerTest, OtherSteps) {
  EXPECT_EQ(normalized(R"({"type": "Lowercase"})", "AÉΣİẞ"), "aéσi\u0307ß");
  EXPECT_EQ(normalized(R"({"type": "StripAccents"})", "e\u0301é"), "eé");
  EXPECT_EQ(
      normalized(R"({"type": "Strip", "strip_left": true, "strip_right": false})", "\u3000 a "),
      "a ");
  EXPECT_EQ(normalized(R"({"type": "Prepend", "prepend": "▁"})", "a"), "▁a");
  EXPECT_EQ(normalized(R"({"type": "Prepend", "prepend": "▁"})", ""), "");
  EXPECT_EQ(normalized(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "$1"})",
                       "a   b c"),
            "a$1b c");
}

/// A tokenizer like Llama's: Metaspace, byte fallback, and a decoder that takes all back.
Json llama() {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"▁", 2},   {"h", 3},
                {"i", 4},     {"▁h", 5},  {"▁hi", 6}, {"hi", 7}};
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = 8 + byte;
  Json json = Json::parse(R"({
      "added_tokens": [{"id": 1, "content": "<s>", "special": true, "normalized": false}],
      "normalizer": null,
      "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                        "split": false},
      "decoder": {"type": "Sequence", "decoders": [
          {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
          {"type": "ByteFallback"}, {"type": "Fuse"},
          {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
      "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true,
                "merges": ["▁ h", "▁h i", "h i"]}})");
  json["model"]["vocab"] = vocab;
  return json;
}

Tokenizer load(const Json& json) {
  const TempFolder folder;
  return Tokenizer::from_file(folder.write("tokenizer.json", json.dump()));
}

TEST(MetaspaceTest, PrependSchemes) {
  Json json = llama();
  EXPECT_EQ(load(json).encode("hi<s>hi hi"), (Ids{6, 1, 7, 6}));
  json["pre_tokenizer"]["prepend_scheme"] = "always";
  EXPECT_EQ(load(json).encode("hi<s>hi hi"), (Ids{6, 1, 6, 6}));
  json["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_EQ(load(json).encode("hi<s>hi hi"), (Ids{7, 1, 7, 6}));
  EXPECT_EQ(load(json).encode(" hi"), (Ids{6}));
  json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"add_prefix_space", true}};
  EXPECT_EQ(load(json).encode("  hi"), (Ids{2, 6}));
}

TEST(ByteFallbackTest, UnknownCharactersBecomeTheirBytes) {
  const Tokenizer tokenizer = load(llama());
  const Ids ids = tokenizer.encode("hié");
  EXPECT_EQ(ids, (Ids{6, 8 + 0xC3, 8 + 0xA9}));
  EXPECT_EQ(tokenizer.decode(ids), "hié");
  EXPECT_EQ(tokenizer.token_bytes(8 + 0xC3), "\xC3");
  EXPECT_EQ(tokenizer.token_bytes(6), " hi");
  Json json = llama();
  json["model"]["vocab"].erase("<0xA9>");
  // One of the bytes is missing: then the character is unknown as a whole.
  EXPECT_EQ(load(json).encode("hié"), (Ids{6, 0}));
}

TEST(DecoderTest, OneBadByteSpoilsTheRow) {
  const Tokenizer tokenizer = load(llama());
  EXPECT_EQ(tokenizer.decode(Ids{6, 8 + 0xC3, 8 + 0xA9, 8 + 0xFF, 7}), "hi\uFFFD\uFFFD\uFFFDhi");
  StreamDecoder stream(tokenizer);
  std::string text;
  for (const int64_t id : Ids{6, 8 + 0xC3, 8 + 0xA9}) text += stream.push(id);
  EXPECT_EQ(text, "hi");
  EXPECT_EQ(stream.push(6), "é hi");
  EXPECT_EQ(stream.push(8 + 0xC3), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.push(6), "hi");  // a new text: the space in front goes again
}

TEST(DecoderTest, OtherKinds) {
  const auto decoded = [](const char* decoder) {
    Json json = llama();
    json["decoder"] = Json::parse(decoder);
    return load(json).decode(Ids{6, 6, 7});
  };
  EXPECT_EQ(decoded("null"), "▁hi ▁hi hi");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "▁"})"), "hi hihi");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"})"),
            " hi hihi");
  EXPECT_EQ(decoded(R"({"type": "Fuse"})"), "▁hi▁hihi");
  EXPECT_EQ(decoded(R"({"type": "Strip", "content": "i", "start": 0, "stop": 1})"), "▁h▁hh");
  EXPECT_EQ(decoded(R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
                        {"type": "Replace", "pattern": {"String": "i▁"}, "content": "-"}]})"),
            "▁h-hihi");
}

TEST(AddedTokenTest, NormalizedOnesAreFoundInNormalizedText) {
  Json json = llama();
  json["normalizer"] = {{"type", "Lowercase"}};
  json["added_tokens"].push_back(
      {{"id", 300}, {"content", "STOP"}, {"special", true}, {"normalized", true}});
  const Tokenizer tokenizer = load(json);
  EXPECT_EQ(tokenizer.encode("Stop"), Ids{300});
  EXPECT_EQ(tokenizer.id_to_token(300), "stop");
  // What it is decoded to is no special token's text.
  EXPECT_EQ(tokenizer.decode(Ids{300}, true), "stop");
}

TEST(BatchTest, GivesWhatSingleTextsGive) {
  const Tokenizer tokenizer = load(llama());
  std::vector<std::string> texts;
  for (int i = 0; i < 300; ++i) {
    texts.push_back(std::string(i % 7, 'h') + "hi é" + std::string(i, 'i'));
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto batch = tokenizer.encode_batch(views, true);
  ASSERT_EQ(batch.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(batch[i], tokenizer.encode(texts[i], true));
  EXPECT_TRUE(tokenizer.encode_batch(std::span<const std::string_view>()).empty());
}

TEST(IgnoreMergesTest, AddedTokensOfTheModelNeedPermission) {
  Json json = llama();
  json["model"]["ignore_merges"] = true;
  json["pre_tokenizer"] = nullptr;
  json["added_tokens"][0]["single_word"] = true;
  json["model"]["vocab"]["x<s>y"] = 299;
  json["added_tokens"].push_back({{"id", 299}, {"content", "x<s>y"}, {"single_word", true}});
  const Tokenizer tokenizer = load(json);
  for (int round = 0; round < 2; ++round) {  // the second with what the first left in the cache
    EXPECT_EQ(tokenizer.encode("x<s>y", false, true), Ids{299});
    const Ids plain = tokenizer.encode("x<s>y", false, false);
    EXPECT_EQ(plain.size(), 5u);
  }
}

}  // namespace
}  // namespace dsv3
