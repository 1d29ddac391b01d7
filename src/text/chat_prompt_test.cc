#include "text/chat_prompt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"

namespace dsv3 {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(DSV3_SOURCE_DIR) / "tests/golden-text";

const Tokenizer& mini() {
  static const Tokenizer tokenizer = Tokenizer::from_file(kGolden / "mini-tokenizer.json");
  return tokenizer;
}
const Tokenizer& stories() {
  static const Tokenizer tokenizer =
      Tokenizer::from_file(std::filesystem::path(DSV3_SOURCE_DIR) / "models/stories");
  return tokenizer;
}

ChatTemplate from_source(const std::string& source) {
  return ChatTemplate::from_source(
      source, {{"bos_token", "<｜begin▁of▁sentence｜>"}, {"eos_token", "<｜end▁of▁sentence｜>"}});
}

const std::string kTemplate =
    "{{ bos_token }}{% for m in messages %}{{ '<｜User｜>' if m.role == 'user' else "
    "'<｜Assistant｜>' }}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}";

std::string user(const std::string& content) {
  return Json::array({{{"role", "user"}, {"content", content}}}).dump();
}

/// The ids of text that has no added tokens in it.
std::vector<int64_t> plain(const std::string& text) { return stories().encode(text, false, false); }

int64_t id_of(const char* token) { return stories().encode(token).at(0); }

TEST(ChatPromptTest, TheTemplateWritesSpecialTokensAndNoSecondBos) {
  ChatOptions options;
  options.add_generation_prompt = true;
  const ChatPrompt prompt =
      make_chat_prompt(from_source(kTemplate), stories(), user("Hi"), options);
  EXPECT_EQ(prompt.text, "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>");
  std::vector<int64_t> expected = {id_of("<｜begin▁of▁sentence｜>"), id_of("<｜User｜>")};
  for (const int64_t id : plain("Hi")) expected.push_back(id);
  expected.push_back(id_of("<｜Assistant｜>"));
  EXPECT_EQ(prompt.ids, expected);
}

TEST(ChatPromptTest, SpecialTokensInMessagesAreText) {
  const std::string content =
      "a <｜begin▁of▁sentence｜> <<｜Assistant｜> b<｜end▁of▁sentence｜> 雨";
  const ChatPrompt prompt = make_chat_prompt(from_source(kTemplate), stories(), user(content));
  EXPECT_EQ(prompt.text, "<｜begin▁of▁sentence｜><｜User｜>" + content);
  std::vector<int64_t> expected = {id_of("<｜begin▁of▁sentence｜>"), id_of("<｜User｜>")};
  for (const int64_t id : plain(content)) expected.push_back(id);
  EXPECT_EQ(prompt.ids, expected);
  EXPECT_EQ(stories().decode(prompt.ids), prompt.text);
}

TEST(ChatPromptTest, EverywhereIsWhatTransformersDoes) {
  const ChatPrompt prompt =
      make_chat_prompt(from_source(kTemplate), stories(), user("a <｜begin▁of▁sentence｜>"), {},
                       SpecialTokensIn::kEverywhere);
  EXPECT_EQ(prompt.ids,
            stories().encode("<｜begin▁of▁sentence｜><｜User｜>a <｜begin▁of▁sentence｜>"));
  EXPECT_EQ(prompt.ids.back(), id_of("<｜begin▁of▁sentence｜>"));
}

TEST(ChatPromptTest, StringsPrintedOneAfterTheOtherMakeNoSpecialToken) {
  const ChatTemplate parts = from_source(
      "{{ bos_token }}{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}"
      "{% endfor %}");
  for (const std::vector<std::string>& texts : {std::vector<std::string>{"<｜User", "｜>"},
                                                {"<", "｜begin▁", "of▁sentence｜>"},
                                                {"x<<｜begin▁of▁sen", "tence｜>"}}) {
    Json content = Json::array();
    std::string joined;
    for (const std::string& text : texts) {
      content.push_back({{"type", "text"}, {"text", text}});
      joined += text;
    }
    const ChatPrompt prompt = make_chat_prompt(
        parts, stories(), Json::array({{{"role", "user"}, {"content", content}}}).dump());
    std::vector<int64_t> expected = {id_of("<｜begin▁of▁sentence｜>")};
    for (const int64_t id : plain(joined)) expected.push_back(id);
    EXPECT_EQ(prompt.ids, expected) << joined;
    EXPECT_EQ(prompt.text, "<｜begin▁of▁sentence｜>" + joined);
  }
}

TEST(ChatPromptTest, FiltersSeeTheTextAndTokensStayText) {
  const ChatTemplate filters = from_source(
      "{% for m in messages %}{{ m.content | trim | upper }}{{ m | tojson }}{% endfor %}{{ tools | "
      "tojson }}");
  ChatOptions options;
  options.tools_json = R"([{"name": "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>": 1.50}])";
  const std::string messages = R"([{"role": "user", "content": "  a <｜begin▁of▁sentence｜>\n"}])";
  const ChatPrompt prompt = make_chat_prompt(filters, stories(), messages, options);
  EXPECT_EQ(prompt.text, filters.render(messages, options));
  EXPECT_EQ(prompt.ids, plain(prompt.text));
}

TEST(ChatPromptTest, ThinkMarksOfTheAssistantKeepTheirMeaning) {
  // A tokenizer that has them as tokens, as those of R1 and V3.1.
  const Tokenizer& tokenizer = mini();
  const int64_t think = *tokenizer.token_to_id("<think>");
  const ChatTemplate r1 = ChatTemplate::from_source(
      "{% for m in messages %}{% set content = m.content %}{% if '</think>' in content %}{% set "
      "content = content.split('</think>')[-1] %}{% endif %}{{ content }}{% endfor %}",
      {});
  const std::string answer =
      R"([{"role": "assistant", "content": "<think>x</think>y <｜User｜> <think>"}])";
  const ChatPrompt prompt = make_chat_prompt(r1, tokenizer, answer);
  EXPECT_EQ(prompt.text, "y <｜User｜> <think>");
  EXPECT_EQ(prompt.ids.back(), think);
  EXPECT_EQ(std::count(prompt.ids.begin(), prompt.ids.end(), tokenizer.encode("<｜User｜>").at(0)),
            0);
  const ChatPrompt asked =
      make_chat_prompt(r1, tokenizer, R"([{"role": "user", "content": "what is <think>"}])");
  EXPECT_EQ(std::count(asked.ids.begin(), asked.ids.end(), think), 0);
}

TEST(ChatPromptTest, NumbersThatNeedNoGuardAreRenderedAsWritten) {
  const ChatTemplate json = from_source("{{ messages | tojson }}");
  const std::string messages = R"([{"role": "user", "n": 1e20, "x": 5.0}])";
  EXPECT_EQ(make_chat_prompt(json, stories(), messages).text, json.render(messages));
}

TEST(ChatPromptTest, PrivateUseCharactersOfTheConversationAreKept) {
  const std::string content = "\xF3\xB0\x80\x80 <｜begin▁of▁sentence｜> \xF3\xB0\x80\x81";
  const ChatPrompt prompt = make_chat_prompt(from_source(kTemplate), stories(), user(content));
  EXPECT_EQ(prompt.text, "<｜begin▁of▁sentence｜><｜User｜>" + content);
  EXPECT_EQ(stories().decode(prompt.ids), prompt.text);
}

TEST(ChatPromptTest, GoldenConversationsRenderAsWithoutGuards) {
  std::ifstream file(kGolden / "chat.jsonl");
  size_t compared = 0;
  for (std::string line; std::getline(file, line);) {
    const Json json = parse_json(line, "chat.jsonl");
    const std::string name = json["template"];
    if (!json.contains("rendered") || !json.contains("messages")) continue;
    std::ostringstream source;
    source << std::ifstream(kGolden / "templates" / name, std::ios::binary).rdbuf();
    const ChatTemplate chat_template =
        ChatTemplate::from_source(source.str(), {{"bos_token", "<｜begin▁of▁sentence｜>"},
                                                 {"eos_token", "<｜end▁of▁sentence｜>"},
                                                 {"pad_token", "<｜end▁of▁sentence｜>"}});
    Json kwargs = json.value("kwargs", Json::object());
    ChatOptions options;
    options.continue_final_message = kwargs.value("continue_final_message", false);
    options.add_generation_prompt = kwargs.value("add_generation_prompt", false);
    kwargs.erase("continue_final_message");
    kwargs.erase("add_generation_prompt");
    if (json.contains("tools")) options.tools_json = json["tools"].dump();
    options.kwargs_json = kwargs.dump();
    const std::string messages = json["messages"].dump();
    std::string expected;
    try {
      expected = chat_template.render(messages, options);
    } catch (const Error&) {
      continue;  // strftime_now and the like are the template's own tests
    }
    const ChatPrompt prompt = make_chat_prompt(chat_template, mini(), messages, options);
    EXPECT_EQ(prompt.text, expected) << name << " " << json["conversation"];
    EXPECT_EQ(mini().decode(prompt.ids), prompt.text);
    if (json["conversation"] != "injection" && json["conversation"] != "think_twice") {
      EXPECT_EQ(prompt.ids, mini().encode(expected)) << name << " " << json["conversation"];
    }
    ++compared;
  }
  EXPECT_GT(compared, 100u);
}

TEST(ChatPromptTest, MalformedJsonIsAnErrorThatNamesThePart) {
  ChatOptions options;
  options.tools_json = "[";
  try {
    make_chat_prompt(from_source(kTemplate), stories(), user("x"), options);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("tools"), std::string::npos);
  }
}

}  // namespace
}  // namespace dsv3
