#include "text/bpe_trainer.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/error.h"
#include "text/byte_level.h"

namespace dsv3 {
namespace {

using Words = std::map<std::string, int64_t>;
using Names = std::vector<std::string>;

PieceCounts counts_of(const Words& words) {
  PieceCounts pieces;
  for (const auto& [word, count] : words) pieces.add(word, count);
  return pieces;
}

/// Learnt merges as "left+right".
Names merges_of(const LearnedBpe& bpe) {
  Names names;
  for (const auto& [left, right] : bpe.merges) {
    names.push_back(bpe.tokens[static_cast<size_t>(left)] + "+" +
                    bpe.tokens[static_cast<size_t>(right)]);
  }
  return names;
}

/// The definition: count all pairs of all words, merge the best one, begin again.
LearnedBpe learn_by_definition(const Words& words, size_t num_tokens, int64_t min_frequency) {
  LearnedBpe bpe = learn_bpe({}, {.num_tokens = 256});
  std::map<std::string, int32_t> ids;
  for (size_t i = 0; i < bpe.tokens.size(); ++i) ids[bpe.tokens[i]] = static_cast<int32_t>(i);
  std::vector<std::pair<std::vector<int32_t>, int64_t>> texts;
  for (const auto& [word, count] : words) {
    texts.push_back({{}, count});
    for (const char c : word) texts.back().first.push_back(ids.at(std::string(1, c)));
  }
  while (bpe.tokens.size() < num_tokens) {
    std::map<std::pair<int32_t, int32_t>, int64_t> pairs;
    for (const auto& [tokens, count] : texts) {
      for (size_t i = 1; i < tokens.size(); ++i) pairs[{tokens[i - 1], tokens[i]}] += count;
    }
    std::pair<int32_t, int32_t> best;
    int64_t most = 0;
    for (const auto& [pair, count] : pairs) {
      if (count > most) best = pair, most = count;
    }
    if (most < min_frequency) break;
    bpe.merges.push_back(best);
    const std::string bytes =
        bpe.tokens[static_cast<size_t>(best.first)] + bpe.tokens[static_cast<size_t>(best.second)];
    const auto [found, is_new] = ids.try_emplace(bytes, static_cast<int32_t>(bpe.tokens.size()));
    if (is_new) bpe.tokens.push_back(bytes);
    for (auto& [tokens, count] : texts) {
      std::vector<int32_t> merged;
      for (size_t i = 0; i < tokens.size(); ++i) {
        if (i + 1 < tokens.size() && std::pair(tokens[i], tokens[i + 1]) == best) {
          merged.push_back(found->second);
          ++i;
        } else {
          merged.push_back(tokens[i]);
        }
      }
      tokens = merged;
    }
  }
  return bpe;
}

TEST(PieceCountsTest, CountsBytesOfAnyLength) {
  PieceCounts pieces, other;
  std::map<std::string, int64_t> expected;
  std::mt19937 random(1);
  for (int i = 0; i < 30000; ++i) {
    std::string piece(1 + random() % 20, '\0');
    for (char& c : piece) c = static_cast<char>(random() % 2);
    (i % 2 ? pieces : other).add(piece);
    ++expected[piece];
  }
  pieces.add(other);
  ASSERT_EQ(pieces.size(), expected.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces.count(i), expected.at(std::string(pieces.piece(i))));
  }
}

TEST(BpeTrainerTest, BytesComeInTheOrderOfTheirLetters) {
  const LearnedBpe bpe = learn_bpe({}, {.num_tokens = 1000});
  ASSERT_EQ(bpe.tokens.size(), 256u);
  char32_t before = 0;
  std::set<std::string> seen;
  for (const std::string& token : bpe.tokens) {
    ASSERT_EQ(token.size(), 1u);
    const char32_t letter = byte_level_letter(static_cast<uint8_t>(token[0]));
    EXPECT_GT(letter, before);
    before = letter;
    seen.insert(token);
  }
  EXPECT_EQ(seen.size(), 256u);
}

// The example of the original paper (without its sign for the end of a word).
TEST(BpeTrainerTest, LearnsSennrichsExample) {
  const Words words = {{"low", 5}, {"lower", 2}, {"newest", 6}, {"widest", 3}};
  EXPECT_EQ(merges_of(learn_bpe(counts_of(words), {.num_tokens = 262})),
            (Names{"e+s", "es+t", "l+o", "lo+w", "e+w", "n+ew"}));
}

TEST(BpeTrainerTest, TiesGoToTheSmallerTokens) {
  const Words words = {{"yz", 3}, {"ab", 3}, {"az", 3}, {"xa", 3}};
  EXPECT_EQ(merges_of(learn_bpe(counts_of(words), {.num_tokens = 260})),
            (Names{"a+b", "a+z", "x+a", "y+z"}));
  // By letter, not by byte: '!' is the first, a space (Ġ) comes after all that ASCII prints.
  EXPECT_EQ(
      merges_of(learn_bpe(counts_of({{" a", 3}, {"~a", 3}, {"\xE9z", 3}}), {.num_tokens = 259})),
      (Names{"~+a", "\xE9+z", " +a"}));
}

TEST(BpeTrainerTest, RepeatedLettersMergeFromTheLeft) {
  EXPECT_EQ(merges_of(learn_bpe(counts_of({{"aaaaa", 2}}), {.num_tokens = 300})),
            (Names{"a+a", "aa+a", "aa+aaa"}));
}

TEST(BpeTrainerTest, StopsAtTheLeastFrequency) {
  const Words words = {{"ab", 5}, {"cd", 4}, {"ef", 1}};
  const auto learn = [&](int64_t least) {
    return merges_of(learn_bpe(counts_of(words), {.num_tokens = 300, .min_frequency = least}));
  };
  EXPECT_EQ(learn(5), (Names{"a+b"}));
  EXPECT_EQ(learn(2), (Names{"a+b", "c+d"}));
  EXPECT_EQ(learn(0), (Names{"a+b", "c+d", "e+f"}));
}

TEST(BpeTrainerTest, IsWhatTheDefinitionSays) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    // Few letters make many ties, overlaps and tokens that two merges make.
    const uint32_t letters = 1 + seed % 5, longest = 3 + seed;
    Words words;
    for (int i = 0; i < 40; ++i) {
      std::string word(1 + random() % longest, '\0');
      for (char& c : word) c = static_cast<char>('a' + random() % letters);
      words[word] += 1 + random() % 3;
    }
    const LearnedBpe found = learn_bpe(counts_of(words), {.num_tokens = 400, .min_frequency = 1});
    const LearnedBpe expected = learn_by_definition(words, 400, 1);
    ASSERT_EQ(merges_of(found), merges_of(expected)) << "seed " << seed;
    ASSERT_EQ(found.merges, expected.merges) << "seed " << seed;
    ASSERT_EQ(found.tokens, expected.tokens) << "seed " << seed;
  }
}

TEST(BpeTrainerTest, TooFewTokensAreRefused) {
  EXPECT_THROW(learn_bpe({}, {.num_tokens = 255}), Error);
}

}  // namespace
}  // namespace dsv3
