// Parity with Hugging Face tokenizers on tests/golden-text (see its README.md). The real DeepSeek
// tokenizer is too large to commit: DSV3_DEEPSEEK_TOKENIZER names its tokenizer.json.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/file.h"
#include "base/json.h"
#include "dsv3/tokenizer.h"
#include "text/test_files.h"

namespace dsv3 {
namespace {

using Ids = std::vector<int64_t>;

const std::filesystem::path kSource = DSV3_SOURCE_DIR;
const std::filesystem::path kGolden = kSource / "tests/golden-text";

/// The objects of a .jsonl file. Lines end in "\n" only.
std::vector<Json> read_lines(const std::filesystem::path& path) {
  std::vector<Json> lines;
  std::ifstream in(path, std::ios::binary);
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  EXPECT_FALSE(lines.empty()) << path;
  return lines;
}

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

const char* real_tokenizer_path() { return std::getenv("DSV3_DEEPSEEK_TOKENIZER"); }

class RealTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    if (!real_tokenizer_path()) {
      GTEST_SKIP() << "DSV3_DEEPSEEK_TOKENIZER does not name DeepSeek-V3's tokenizer.json";
    }
  }
};

/// The real tokenizer with the added tokens of a variant of variants.json.
Tokenizer variant_tokenizer(const std::string& variant) {
  if (variant == "mini") return Tokenizer::from_file(kGolden / "mini-tokenizer.json");
  // The vocabulary is large: patch the list of added tokens as text.
  std::string text = read_file(real_tokenizer_path());
  const size_t begin = text.find('[', text.find("\"added_tokens\""));
  const size_t end = text.find(']', text.rfind("\"content\"", text.find("\"normalizer\""))) + 1;
  Json added = Json::parse(text.substr(begin, end - begin));
  const Json variants = read_json_file(kGolden / "variants.json");
  for (const Json& token : variants.at(variant).at("set_added_tokens")) {
    const auto same = std::find_if(added.begin(), added.end(),
                                   [&](const Json& other) { return other["id"] == token["id"]; });
    if (same != added.end()) *same = token;
    else added.push_back(token);
  }
  text.replace(begin, end - begin, added.dump());
  const TempFolder folder;
  return Tokenizer::from_file(folder.write("tokenizer.json", text));
}

void expect_line(const Tokenizer& tokenizer, const Json& line) {
  const std::string text = line["text"];
  const Ids ids = line["ids"];
  SCOPED_TRACE(line["group"].get<std::string>() + ": " + line["text"].dump().substr(0, 300));
  EXPECT_EQ(tokenizer.encode(text), ids);
  EXPECT_EQ(tokenizer.encode(text, true), line["ids_special"].get<Ids>());
  if (line.contains("raw_hex")) {
    EXPECT_EQ(tokenizer.encode(bytes_of_hex(line["raw_hex"])), ids);
  }
  EXPECT_EQ(tokenizer.decode(ids), line["decoded"].get<std::string>());
  EXPECT_EQ(tokenizer.decode(ids, true), line["decoded_skip_special"].get<std::string>());
}

TEST_F(RealTokenizer, EncodesAndDecodesAsTokenizers) {
  const Tokenizer tokenizer = Tokenizer::from_file(real_tokenizer_path());
  EXPECT_EQ(tokenizer.vocab_size(), 128815);
  for (const Json& line : read_lines(kGolden / "encode.jsonl")) expect_line(tokenizer, line);
}

TEST_F(RealTokenizer, HonoursFlagsOfAddedTokens) {
  std::map<std::string, Tokenizer> tokenizers;
  for (const Json& line : read_lines(kGolden / "encode_variants.jsonl")) {
    const std::string variant = line["variant"];
    if (!tokenizers.contains(variant)) tokenizers.emplace(variant, variant_tokenizer(variant));
    expect_line(tokenizers.at(variant), line);
  }
}

TEST_F(RealTokenizer, StreamsTextAsSoonAsItIsCertain) {
  const Tokenizer tokenizer = Tokenizer::from_file(real_tokenizer_path());
  for (const Json& line : read_lines(kGolden / "decode_stream.jsonl")) {
    SCOPED_TRACE(line["name"].get<std::string>());
    StreamDecoder decoder(tokenizer, line["skip_special"]);
    std::vector<std::string> pieces;
    for (const int64_t id : line["ids"].get<Ids>()) pieces.push_back(decoder.push(id));
    EXPECT_EQ(pieces, line["pieces"].get<std::vector<std::string>>());
    EXPECT_EQ(decoder.flush(), line["flush"].get<std::string>());
    EXPECT_EQ(tokenizer.decode(line["ids"].get<Ids>(), line["skip_special"]),
              line["text"].get<std::string>());
  }
}

TEST(MiniTokenizer, EncodesAndDecodesAsTokenizers) {
  const Tokenizer tokenizer = variant_tokenizer("mini");
  for (const Json& line : read_lines(kGolden / "encode_variants.jsonl")) {
    if (line["variant"] == "mini") expect_line(tokenizer, line);
  }
}

TEST(StoriesTokenizer, PromptsGetTheIdsOfTransformers) {
  const Tokenizer tokenizer = Tokenizer::from_file(kSource / "models/stories");
  const Json expected = read_json_file(kSource / "models/stories/expected.json");
  for (const Json& prompt : expected.at("prompts")) {
    EXPECT_EQ(tokenizer.encode_prompt(prompt["text"].get<std::string>()),
              prompt["ids"].get<Ids>());
    EXPECT_EQ(tokenizer.decode(prompt["greedy_ids"].get<Ids>()),
              prompt["greedy_text"].get<std::string>());
  }
}

}  // namespace
}  // namespace dsv3
