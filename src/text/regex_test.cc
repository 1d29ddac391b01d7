#include "text/regex.h"

#include <gtest/gtest.h>

#include "dsv3/error.h"

namespace dsv3 {
namespace {

using Strings = std::vector<std::string>;

Strings find_all(std::string_view pattern, std::string_view text) {
  const Regex regex(pattern);
  Strings found;
  Regex::Match match;
  for (size_t at = 0; regex.find(text, at, match); at = match.end) {
    found.emplace_back(text.substr(match.begin, match.end - match.begin));
  }
  return found;
}

TEST(RegexTest, FirstAlternativeWinsNotTheLongest) {
  EXPECT_EQ(find_all("a|ab|abc", "abc"), (Strings{"a"}));
  EXPECT_EQ(find_all("(?:ab|a)(?:c|bcd)", "abcd"), (Strings{"abc"}));
}

TEST(RegexTest, GoesBackIntoGroupsAndRepeats) {
  EXPECT_EQ(find_all("(?:a|ab)(?:c|bcd)(?:d*)", "abcd"), (Strings{"abcd"}));
  EXPECT_EQ(find_all("x*xy", "xxxy"), (Strings{"xxxy"}));
  EXPECT_EQ(find_all("(?:ab){2,}c?", "ababab abc"), (Strings{"ababab"}));
  EXPECT_EQ(find_all("[a-c]*é?b", "aéb中"), (Strings{"aéb"}));
}

TEST(RegexTest, AlternativesAreRuledOutOnlyByCharactersThatTheyCannotBeginWith) {
  EXPECT_EQ(find_all("a(?:é|中b|(?=x)x|)d?", "aéd a中b a中d axd ad"),
            (Strings{"aéd", "a中b", "a", "axd", "ad"}));
  EXPECT_EQ(find_all("x(?:ab|[é-中])*c?", "xabéc x中 xa"), (Strings{"xabéc", "x中", "x"}));
  EXPECT_EQ(find_all("x(?:a|é)+?c", "xaéc xc"), (Strings{"xaéc"}));
  EXPECT_EQ(find_all("x(?:b?c|d?)e", "xe xce xbce xde xbe"),
            (Strings{"xe", "xce", "xbce", "xde"}));
}

TEST(RegexTest, LazyAndPossessiveRepeats) {
  EXPECT_EQ(find_all("a.+?b", "axbxb"), (Strings{"axb"}));
  EXPECT_EQ(find_all("a{2,3}?", "aaaa"), (Strings{"aa", "aa"}));
  EXPECT_EQ(find_all("a{1,2}?b", "aaab"), (Strings{"aab"}));
  EXPECT_EQ(find_all("a++a", "aaa"), Strings{});
  EXPECT_EQ(find_all("(?>a|ab)c", "abc ac"), (Strings{"ac"}));
}

TEST(RegexTest, LookAheadSeesTheEndOfTheText) {
  EXPECT_EQ(find_all(R"(\s+(?!\S)|\s+)", "a   b  "), (Strings{"  ", " ", "  "}));
  EXPECT_EQ(find_all("a(?=b)", "aab"), (Strings{"a"}));
}

TEST(RegexTest, ClassesAreThoseOfUnicode16) {
  EXPECT_EQ(find_all(R"(\p{N})", "½²Ⅷ①٣x"), (Strings{"½", "²", "Ⅷ", "①", "٣"}));
  EXPECT_EQ(find_all(R"([^\r\n\p{L}\p{P}\p{S}])", "a\n.$ é\u0301"), (Strings{" ", "\u0301"}));
  // Garay letters and the digits of Kirat Rai came with Unicode 16.
  EXPECT_EQ(find_all(R"(\p{L})", "\U00010D50"), (Strings{"\U00010D50"}));
  EXPECT_EQ(find_all(R"(\p{Nd})", "\U00016D70"), (Strings{"\U00016D70"}));
  EXPECT_EQ(find_all(R"(\P{L}+)", "ab12é"), (Strings{"12"}));
}

TEST(RegexTest, SetsInsideSetsAndIntersections) {
  EXPECT_EQ(find_all("[a-d&&[^b]]+", "abcd"), (Strings{"a", "cd"}));
  EXPECT_EQ(find_all("[a-d[xy]]+", "abcdxyz"), (Strings{"abcdxy"}));
  EXPECT_EQ(find_all("[^a&&b]+", "abcd"), (Strings{"abcd"}));
  EXPECT_EQ(find_all("[a-f&&c-z&&[^e]]+", "abcdefg"), (Strings{"cd", "f"}));
  EXPECT_EQ(find_all(R"([\p{Lo}\p{M}&&[^\p{Han}]]+)", "中ا文か"), (Strings{"ا", "か"}));
}

TEST(RegexTest, ScriptsAreThoseOfUnicode16) {
  EXPECT_EQ(find_all(R"([\p{Han}]+)", "a々〇漢字かな\U00020000\U00016FF0"),
            (Strings{"々〇漢字", "\U00020000\U00016FF0"}));
  EXPECT_EQ(find_all(R"(\P{Han})", "中ー"), (Strings{"ー"}));
}

TEST(RegexTest, WhiteSpaceIsThePropertyOfThatName) {
  EXPECT_EQ(find_all(R"(\s+)", "\u0085\u00A0\u2028\u3000"),
            (Strings{"\u0085\u00A0\u2028\u3000"}));
  EXPECT_EQ(find_all(R"(\s+)", "\u180E\u200B\u001C\uFEFF"), Strings{});
}

TEST(RegexTest, IgnoreCaseKnowsTheTwoLettersOutsideAscii) {
  EXPECT_EQ(find_all("(?i:'s|k)", "'S 'ſ K \u212A s"), (Strings{"'S", "'ſ", "K", "\u212A"}));
  EXPECT_EQ(find_all("(?i:a)b", "Ab AB"), (Strings{"Ab"}));
}

// The results are Oniguruma's.
TEST(RegexTest, DollarIsTheEndOfALine) {
  EXPECT_EQ(find_all(R"(\s+$)", "a  \nb  "), (Strings{"  ", "  "}));
  EXPECT_EQ(find_all(R"(\s+$)", "a \n"), (Strings{" \n"}));
  EXPECT_EQ(find_all("a$", "a\na\n aa\r\nab"), (Strings{"a", "a"}));
  EXPECT_EQ(find_all("[ab]+$|c", "abc\nab\n\nb"), (Strings{"c", "ab", "b"}));
}

TEST(RegexTest, RefusesWhatItDoesNotKnowWithThePlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"a(?<=b)", "byte 3: look-behind is not supported"},
      {"^a", "the anchor '^'"},
      {"$", "may match nothing"},
      {"a$+", "a quantifier of a look-ahead"},
      {R"(\bword)", R"(the escape \b)"},
      {R"(a\1)", R"(the escape \1)"},
      {R"(\p{Klingon})", R"(\p{Klingon})"},
      {R"(\p)", "without {name}"},
      {"[&&b]", "&&"},
      {"[a&&]", "as the first character of a set"},
      {"[a-[b]]", "a range that ends with a set"},
      {"[[:alpha:]]", "a POSIX bracket"},
      {"[b-a]", "a range whose end is before its start"},
      {"(?i:ß)", "above ASCII"},
      {"(?i:ss)", "pair of letters"},
      {"(?P<n>a)", "this kind of group"},
      {"a{1,2}+", "a quantifier of a quantifier"},
      {"a**", "a quantifier of a quantifier"},
      {"(?:a*)+", "may match nothing"},
      {"a*", "may match nothing"},
      {"(?=a)", "may match nothing"},
      {"a{2,1}", "minimum is above its maximum"},
      {"a{5000}", "a count above"},
      {"(a", "'(' without ')'"},
      {"a)", "')' without '('"},
      {"[a", "'[' without ']'"},
      {"a\\", "ends too early"},
      {"+a", "nothing before it"},
      {"(?:(?:(?:a{900}b){900}){9})", "too large"},
      {"\xFF", "not valid UTF-8"},
  };
  for (const auto& [pattern, expected] : cases) {
    SCOPED_TRACE(pattern);
    try {
      const Regex regex(pattern);
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(expected), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(pattern), std::string::npos) << e.what();
    }
  }
  EXPECT_THROW(Regex(std::string(100000, '(')), Error);
}

TEST(RegexTest, LongTextNeedsNoDeepStackAndLinearTime) {
  const std::string spaces(1 << 20, ' ');
  EXPECT_EQ(find_all(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", spaces + "x").size(), 2u);
  EXPECT_EQ(find_all("(?:a|b)+c|x", std::string(1 << 20, 'a') + "c").size(), 1u);
}

TEST(RegexTest, GivesUpOnExponentialPatterns) {
  EXPECT_THROW(find_all("(?:a+b?)+c", std::string(60, 'a')), Error);
}

}  // namespace
}  // namespace dsv3
