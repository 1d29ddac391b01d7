#include "text/deepseek_tokenizer.h"

#include <gtest/gtest.h>

#include "dsv3/tokenizer.h"
#include "text/test_files.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

/// The fields of a tokenizer.json but for the tokens.
Json without_tokens(Json json) {
  json.erase("added_tokens");
  json["model"].erase("vocab");
  json["model"].erase("merges");
  return json;
}

class DeepseekTokenizerTest : public ::testing::Test {
 protected:
  const fs::path stories_ = fs::path(DSV3_SOURCE_DIR) / "models/stories";
  const Json stories_json_ = read_json_file(stories_ / "tokenizer.json");
};

TEST_F(DeepseekTokenizerTest, HasTheFieldsOfTheOneThatShips) {
  EXPECT_EQ(without_tokens(deepseek_tokenizer_json(learn_bpe({}, {.num_tokens = 256}))),
            without_tokens(stories_json_));
  Json config = read_json_file(stories_ / "tokenizer_config.json");
  config.erase("model_max_length");
  EXPECT_EQ(deepseek_tokenizer_config(), config);
}

TEST_F(DeepseekTokenizerTest, TokensAreWhereTheyShouldBe) {
  PieceCounts pieces;
  for (const char* piece : {"the", " owl", " the"}) pieces.add(piece, 10);
  const TempFolder folder;
  folder.write("tokenizer.json",
               deepseek_tokenizer_json(learn_bpe(pieces, {.num_tokens = 300})).dump());
  folder.write("tokenizer_config.json", deepseek_tokenizer_config().dump());
  const auto tokenizer = Tokenizer::from_file(folder.path());
  const int64_t n = tokenizer.vocab_size();
  EXPECT_EQ(n, 256 + 6 + kDeepseekSpecialTokens) << "th, the, _the, ow, owl, _owl";
  EXPECT_EQ(tokenizer.bos_token_id(), 0);
  EXPECT_EQ(tokenizer.eos_token_id(), 1);
  EXPECT_EQ(tokenizer.pad_token_id(), 2);
  EXPECT_EQ(tokenizer.token_to_id("!"), 3);
  EXPECT_EQ(tokenizer.token_to_id("<｜fim▁begin｜>"), n - 4);
  EXPECT_EQ(tokenizer.token_to_id("<｜Assistant｜>"), n - 1);
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(n - 1));
  EXPECT_EQ(tokenizer.encode("the owl the").size(), 3u);
  EXPECT_EQ(tokenizer.encode_prompt("<｜User｜>the"),
            (std::vector<int64_t>{0, n - 2, *tokenizer.token_to_id("the")}));
  const std::string text = "Ünïcode 森 \x01\t1234 'quoted'";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

// Hugging Face's trainer made the file that ships.
TEST_F(DeepseekTokenizerTest, MergesAreWrittenAsTheShippedFileHasThem) {
  PieceCounts pieces;
  pieces.add("he", 3);
  pieces.add(" t", 2);
  const Json json = deepseek_tokenizer_json(learn_bpe(pieces, {.num_tokens = 300}));
  EXPECT_EQ(json["model"]["merges"], (Json{"h e", "Ġ t"}));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(json["model"]["merges"][i], stories_json_["model"]["merges"][i]);
  }
  // Ids of bytes and of the first token that was learnt.
  for (const char* token : {"!", "z", "Ń", "Ġ", "he"}) {
    EXPECT_EQ(json["model"]["vocab"][token], stories_json_["model"]["vocab"][token]) << token;
  }
}

}  // namespace
}  // namespace dsv3
