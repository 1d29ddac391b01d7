#include "base/json.h"

#include <gtest/gtest.h>

#include "dsv3/error.h"

namespace dsv3 {
namespace {

std::string message_for(const std::string& text) {
  try {
    parse_json(text, "x.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(JsonTest, ErrorsNameFileLineAndColumn) {
  EXPECT_NE(message_for("{\n  \"a\": ]\n}").find("x.json: not valid JSON at line 2, column 8"),
            std::string::npos)
      << message_for("{\n  \"a\": ]\n}");
  EXPECT_NE(message_for("").find("x.json"), std::string::npos);
  EXPECT_NE(message_for("{\"a\": 1e999}").find("x.json"), std::string::npos);
}

TEST(JsonTest, DeepNestingIsRefusedBeforeItExhaustsTheStack) {
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_EQ(message_for(nested(1000)), "");
  EXPECT_NE(message_for(nested(1001)).find("byte 1000"), std::string::npos);
  EXPECT_NE(message_for(std::string(10'000'000, '[')).find("nested"), std::string::npos);
  // Brackets in strings, also after an escaped quote, are no nesting.
  EXPECT_EQ(message_for("[\"\\\"" + std::string(5000, '[') + "\\\\\"]"), "");
}

TEST(JsonTest, ExactJsonRefusesIntegersThatWouldBecomeFloats) {
  for (const char* text : {"[123456789012345678901]", "{\"a\": -9223372036854775809}",
                           "{\"a\\\"\": [true, 9223372036854775808]}"}) {
    EXPECT_NO_THROW(parse_json(text, "x"));
    EXPECT_THROW(parse_exact_json(text, "x"), Error) << text;
  }
  const std::string fits =
      R"([9223372036854775807,-9223372036854775808,1234567890123456789012.5,1e30,"12345678901234567890123"])";
  EXPECT_EQ(parse_exact_json(fits, "x").size(), 5u);
}

TEST(JsonTest, MessagesStayShortForLongTokens) {
  EXPECT_LT(message_for("{\"" + std::string(1'000'000, 'a')).size(), 500u);
}

}  // namespace
}  // namespace dsv3
