// Answers as each model writes them, after prompts that its own template has made: what is found in
// them, at every place of cutting, and that the template writes the same marks into the history.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/json.h"
#include "dsv3/answer.h"
#include "dsv3/chat_template.h"

namespace dsv3 {
namespace {

using Start = AnswerFormat::Start;

const std::string kEos = "<｜end▁of▁sentence｜>";

ChatTemplate load(const std::string& file) {
  std::ostringstream source;
  source << std::ifstream(std::string(DSV3_SOURCE_DIR) + "/tests/golden-text/templates/" + file)
                .rdbuf();
  return ChatTemplate::from_source(source.str(),
                                   {{"bos_token", "<｜begin▁of▁sentence｜>"}, {"eos_token", kEos}});
}

Json user(const std::string& text) { return {{"role", "user"}, {"content", text}}; }
Json tool_result(const std::string& text) { return {{"role", "tool"}, {"content", text}}; }
Json asks_tool(const std::string& name, const std::string& arguments) {
  return {{"role", "assistant"},
          {"content", nullptr},
          {"tool_calls",
           {{{"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}}}}};
}

const Json kQuestion = Json::array({user("What is <think>? And </think>?")});
const Json kAfterTool =
    Json::array({user("Weather?"), asks_tool("get_weather", "{\"city\": \"Rom\"}"),
                 tool_result("</think> 30")});

std::string fenced(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + name + "\n```json\n" + arguments +
         "\n```<｜tool▁call▁end｜>";
}
std::string bare(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>" + name + "<｜tool▁sep｜>" + arguments + "<｜tool▁call▁end｜>";
}
std::string block(const std::string& calls) {
  return "<｜tool▁calls▁begin｜>" + calls + "<｜tool▁calls▁end｜>";
}

struct Case {
  const char* name;
  const char* model;  ///< its format by name
  const char* chat_template;
  const char* kwargs;
  Json messages;
  std::string answer;
  std::string reasoning, content;
  std::vector<Answer::ToolCall> calls;
};

std::vector<Case> cases() {
  const char* const v3 = "deepseek-v3-tokenizer-config.jinja";
  const char* const r1 = "deepseek-r1-official.jinja";
  const char* const r1_tools = "llama-cpp-deepseek-r1.jinja";
  const char* const v31 = "deepseek-v3.1.jinja";
  const std::string city = "{\"city\": \"São Paulo\"}", sum = "{\"a\": 1, \"b\": [2, {}]}";
  return {
      {"V3 says something",
       "deepseek-v3",
       v3,
       "",
       kQuestion,
       "Use <think> & </think>." + kEos,
       "",
       "Use <think> & </think>.",
       {}},
      {"V3 calls",
       "deepseek-v3",
       v3,
       "",
       kQuestion,
       block(fenced("get_weather", city)) + kEos,
       "",
       "",
       {{"get_weather", city, true}}},
      {"V3 says something and calls twice",
       "deepseek-v3",
       v3,
       "",
       kQuestion,
       "One moment.\n\n" + block(fenced("get_weather", city) + "\n" + fenced("add", sum)) + kEos,
       "",
       "One moment.\n\n",
       {{"get_weather", city, true}, {"add", sum, true}}},
      {"V3 after a tool's result",
       "deepseek-v3",
       v3,
       "",
       kAfterTool,
       "30 degrees." + kEos,
       "",
       "30 degrees.",
       {}},
      {"V3-0324 calls without a fence",
       "deepseek-v3-0324",
       v3,
       "",
       kQuestion,
       block("<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n" + sum + "<｜tool▁call▁end｜>") +
           kEos,
       "",
       "",
       {{"add", sum, true}}},
      {"V3-0324 forgets the end",
       "deepseek-v3-0324",
       v3,
       "",
       kQuestion,
       "<｜tool▁calls▁begin｜>" + fenced("add", sum) + kEos,
       "",
       "",
       {{"add", sum, true}}},
      {"R1 thinks",
       "deepseek-r1",
       r1,
       "",
       kQuestion,
       "Okay, so...\n\nHmm.\n</think>\n\nIt marks thinking." + kEos,
       "Okay, so...\n\nHmm.",
       "It marks thinking.",
       {}},
      {"R1 does not think",
       "deepseek-r1",
       r1,
       "",
       kQuestion,
       "\n</think>\n\nIt is a mark." + kEos,
       "",
       "It is a mark.",
       {}},
      {"R1 is cut off while it thinks",
       "deepseek-r1",
       r1,
       "",
       kQuestion,
       "Okay, so",
       "Okay, so",
       "",
       {}},
      {"R1 thinks and calls",
       "deepseek-r1",
       r1_tools,
       "",
       kQuestion,
       "I need the weather.\n</think>\n\n" + block(fenced("get_weather", city)) + kEos,
       "I need the weather.",
       "",
       {{"get_weather", city, true}}},
      {"R1 after a tool's result begins to think by itself",
       "deepseek-r1-0528",
       r1,
       "",
       kAfterTool,
       "<think>\nSo it is 30.\n</think>\n\n30 degrees." + kEos,
       "So it is 30.",
       "30 degrees.",
       {}},
      {"R1 after a tool's result just answers",
       "deepseek-r1-0528",
       r1,
       "",
       kAfterTool,
       "30 degrees." + kEos,
       "",
       "30 degrees.",
       {}},
      {"V3.1 does not think",
       "deepseek-v3.1",
       v31,
       "",
       kQuestion,
       "It is a </think> mark." + kEos,
       "",
       "It is a </think> mark.",
       {}},
      {"V3.1 thinks",
       "deepseek-v3.1",
       v31,
       R"({"thinking": true})",
       kQuestion,
       "The user asks.</think>It is a mark." + kEos,
       "The user asks.",
       "It is a mark.",
       {}},
      {"V3.1 calls",
       "deepseek-v3.1",
       v31,
       "",
       kQuestion,
       "Let me look." + block(bare("get_weather", city) + bare("add", sum)) + kEos,
       "",
       "Let me look.",
       {{"get_weather", city, true}, {"add", sum, true}}},
      {"V3.1 thinks and calls while it thinks",
       "deepseek-v3.1",
       v31,
       R"({"thinking": true})",
       kQuestion,
       "Hm." + block(bare("add", sum)) + kEos,
       "Hm.",
       "",
       {{"add", sum, true}}},
      {"V3.1 after a tool's result",
       "deepseek-v3.1",
       v31,
       "",
       kAfterTool,
       "30 degrees." + kEos,
       "",
       "30 degrees.",
       {}},
  };
}

std::string printed(const std::vector<Answer::ToolCall>& calls) {
  std::string text;
  for (const Answer::ToolCall& call : calls) {
    text += call.name + "(" + call.arguments + ")" + (call.complete ? "" : "...") + ";";
  }
  return text;
}

TEST(AnswerTemplatesTest, AnswersOfEachModelAfterItsOwnPrompts) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const ChatTemplate chat_template = load(c.chat_template);
    ChatOptions options;
    options.add_generation_prompt = true;
    options.kwargs_json = c.kwargs;
    const std::string prompt = chat_template.render(c.messages.dump(), options);
    const AnswerFormat format = detect_answer_format(chat_template.source(), prompt);
    const AnswerFormat named = answer_format(c.model);
    EXPECT_EQ(format.thinking, named.thinking);
    EXPECT_EQ(format.tool_calls, named.tool_calls);
    const bool has_kwargs = *c.kwargs != '\0';  // which may change where answers begin
    EXPECT_TRUE(has_kwargs || format.start == named.start);
    for (size_t cut = 0; cut <= c.answer.size(); ++cut) {
      AnswerReader reader(format);
      Answer answer;
      for (const std::string& piece : {c.answer.substr(0, cut), c.answer.substr(cut)}) {
        for (const AnswerEvent& event : reader.push(piece)) answer.add(event);
      }
      for (const AnswerEvent& event : reader.flush()) answer.add(event);
      ASSERT_EQ(answer.reasoning, c.reasoning) << "cut at " << cut;
      ASSERT_EQ(answer.content, c.content) << "cut at " << cut;
      ASSERT_EQ(printed(answer.tool_calls), printed(c.calls)) << "cut at " << cut;
    }
  }
}

TEST(AnswerTemplatesTest, TemplatesWriteIntoTheHistoryWhatTheModelsWrote) {
  // R1's reasoning is left out there; V3.1 writes arguments as strings, which are read too.
  const std::string city = "{\"city\": \"Rom\"}";
  for (const char* file : {"deepseek-v3-tokenizer-config.jinja", "deepseek-r1-official.jinja",
                           "llama-cpp-deepseek-r1.jinja", "deepseek-v3.1.jinja"}) {
    SCOPED_TRACE(file);
    const ChatTemplate chat_template = load(file);
    const std::string history = chat_template.render(kAfterTool.dump());
    const size_t begin = history.find("<｜tool▁calls▁begin｜>"), end = history.find("</think> 30");
    ASSERT_LT(begin, end);
    AnswerFormat format = detect_answer_format(chat_template.source(), "");
    const Answer answer = read_answer(format, history.substr(begin, end - begin));
    EXPECT_EQ(printed(answer.tool_calls), "get_weather(" + city + ");");

    Json conversation = Json::array({user("Hi")});
    conversation.push_back(
        {{"role", "assistant"}, {"content", "Hello."}, {"reasoning_content", "A greeting."}});
    EXPECT_EQ(chat_template.render(conversation.dump()).find("A greeting."), std::string::npos);
  }
}

}  // namespace
}  // namespace dsv3
