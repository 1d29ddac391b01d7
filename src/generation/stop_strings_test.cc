#include <gtest/gtest.h>

#include <random>

#include "dsv3/error.h"
#include "dsv3/generation.h"

namespace dsv3 {
namespace {

TEST(StopStringMatcherTest, FindsAStopStringCutAtEveryByte) {
  const std::string text = "Grüße 你好 <|end|> after";
  const std::string before = "Grüße 你好 ";
  for (size_t a = 0; a <= text.size(); ++a) {
    for (size_t b = a; b <= text.size(); ++b) {
      for (const bool include : {false, true}) {
        StopStringMatcher matcher({"<|end|>", "never"}, include);
        std::string shown = matcher.push(text.substr(0, a));
        shown += matcher.push(text.substr(a, b - a));
        shown += matcher.push(text.substr(b));
        shown += matcher.flush();
        ASSERT_TRUE(matcher.stopped());
        EXPECT_EQ(matcher.stop_string(), "<|end|>");
        EXPECT_EQ(shown, include ? before + "<|end|>" : before) << a << " " << b;
      }
    }
  }
}

TEST(StopStringMatcherTest, HoldsBackOnlyWhatMayBecomeAStopString) {
  StopStringMatcher matcher({"\n\nUser:"});
  EXPECT_EQ(matcher.push("Hello\n"), "Hello");
  EXPECT_EQ(matcher.push("\n"), "");
  EXPECT_EQ(matcher.push("\n"), "\n");  // the last two may still begin one
  EXPECT_EQ(matcher.push("Use"), "");
  EXPECT_EQ(matcher.push("s"), "\n\nUses");
  EXPECT_EQ(matcher.push("\n\nUser"), "");
  EXPECT_EQ(matcher.flush(), "\n\nUser");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopStringMatcherTest, TheStringCompleteFirstCountsAndAtTheSameByteTheLonger) {
  StopStringMatcher first({"abcdef", "cd"});
  EXPECT_EQ(first.push("xabcdef"), "xab");
  EXPECT_EQ(first.stop_string(), "cd");
  StopStringMatcher longer({"d", "bcd", "cd"});
  EXPECT_EQ(longer.push("abcd"), "a");
  EXPECT_EQ(longer.stop_string(), "bcd");
}

TEST(StopStringMatcherTest, WithoutStopStringsTextPassesAtOnce) {
  StopStringMatcher matcher;
  EXPECT_EQ(matcher.push("any text"), "any text");
  EXPECT_EQ(matcher.flush(), "");
  EXPECT_THROW(StopStringMatcher({"a", ""}), Error);
}

TEST(StopStringMatcherTest, AgreesWithASearchOfTheWholeTextOnRandomInput) {
  std::mt19937 random(7);
  const auto word = [&](size_t longest) {
    std::string s(1 + random() % longest, 'a');
    for (char& c : s) c = static_cast<char>('a' + random() % 2);
    return s;
  };
  for (int trial = 0; trial < 2000; ++trial) {
    const std::string text = word(24);
    std::vector<std::string> stops;
    for (size_t i = 0; i < 1 + random() % 3; ++i) stops.push_back(word(5));

    // The first byte at which any of them ends, and the longest that ends there.
    size_t cut = text.size();
    bool stopped = false;
    for (size_t end = 1; end <= text.size() && !stopped; ++end) {
      for (const std::string& s : stops) {
        if (s.size() > end || text.compare(end - s.size(), s.size(), s) != 0) continue;
        cut = std::min(cut, end - s.size());
        stopped = true;
      }
    }
    StopStringMatcher matcher(stops);
    std::string shown;
    for (size_t i = 0; i < text.size();) {
      const size_t n = 1 + random() % 4;
      shown += matcher.push(std::string_view(text).substr(i, n));
      EXPECT_LE(shown.size(), cut);
      i += n;
    }
    shown += matcher.flush();
    EXPECT_EQ(matcher.stopped(), stopped);
    EXPECT_EQ(shown, text.substr(0, cut)) << text;
  }
}

}  // namespace
}  // namespace dsv3
