#include "dsv3/answer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "base/json.h"
#include "text/answer/marks.h"

namespace dsv3 {
namespace {

using Kind = AnswerEvent::Kind;
using Start = AnswerFormat::Start;

const std::string kCalls = "<｜tool▁calls▁begin｜>", kCallsOver = "<｜tool▁calls▁end｜>";
const std::string kCall = "<｜tool▁call▁begin｜>", kCallOver = "<｜tool▁call▁end｜>";
const std::string kSep = "<｜tool▁sep｜>", kEos = "<｜end▁of▁sentence｜>";

std::string fenced(const std::string& name, const std::string& arguments) {
  return kCall + "function" + kSep + name + "\n```json\n" + arguments + "\n```" + kCallOver;
}
std::string bare(const std::string& name, const std::string& arguments) {
  return kCall + name + kSep + arguments + kCallOver;
}

/// Events with neighbours of a kind joined, whatever the pieces were.
std::vector<AnswerEvent> read_pieces(const AnswerFormat& format,
                                     const std::vector<std::string>& pieces, bool stream = true) {
  std::vector<AnswerEvent> all;
  AnswerReader reader(format, stream);
  const auto add = [&](const std::vector<AnswerEvent>& events) {
    for (const AnswerEvent& event : events) {
      const bool grows = event.kind == Kind::kReasoning || event.kind == Kind::kContent ||
                         event.kind == Kind::kCallArguments || event.kind == Kind::kMark;
      if (grows && !all.empty() && all.back().kind == event.kind && all.back().call == event.call) {
        all.back().text += event.text;
        all.back().source += event.source;
      } else {
        all.push_back(event);
      }
    }
  };
  for (const std::string& piece : pieces) add(reader.push(piece));
  add(reader.flush());
  return all;
}

std::string sources(const std::vector<AnswerEvent>& events) {
  std::string text;
  for (const AnswerEvent& event : events) text += event.source;
  return text;
}

/// Reads whole, byte by byte and cut at every place: always the same, and nothing lost.
Answer read_all_ways(const AnswerFormat& format, const std::string& text) {
  const std::vector<AnswerEvent> whole = read_pieces(format, {text});
  EXPECT_EQ(sources(whole), text);
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  EXPECT_EQ(read_pieces(format, bytes), whole) << text;
  for (size_t i = 0; i <= text.size(); ++i) {
    EXPECT_EQ(read_pieces(format, {text.substr(0, i), text.substr(i)}), whole)
        << text << "\ncut at " << i;
  }
  Answer answer, held;
  for (const AnswerEvent& event : whole) answer.add(event);
  const std::vector<AnswerEvent> not_streamed = read_pieces(format, bytes, false);
  EXPECT_EQ(sources(not_streamed), text);
  for (const AnswerEvent& event : not_streamed) {
    EXPECT_NE(event.kind, Kind::kCallCancelled);
    held.add(event);
  }
  EXPECT_EQ(held.reasoning, answer.reasoning);
  EXPECT_EQ(held.content, answer.content);
  EXPECT_EQ(held.tool_calls, answer.tool_calls);
  return answer;
}

Answer read(const char* format, const std::string& text) {
  return read_all_ways(answer_format(format), text);
}

TEST(AnswerReaderTest, PlainTextHasNoMarks) {
  const std::string text = "<think>\nx\n</think>\n\n" + kCalls + fenced("f", "{}") + kEos;
  const Answer answer = read("plain", text);
  EXPECT_EQ(answer.content, text);
  EXPECT_EQ(answer.reasoning, "");
  EXPECT_TRUE(answer.tool_calls.empty());
}

TEST(AnswerReaderTest, R1StartsInsideReasoning) {
  const Answer answer = read("deepseek-r1", "First.\n\nThen 1 < 2.\n</think>\n\nIt is **2**.\n");
  EXPECT_EQ(answer.reasoning, "First.\n\nThen 1 < 2.");
  EXPECT_EQ(answer.content, "It is **2**.\n");
}

TEST(AnswerReaderTest, R1MayRepeatTheMarkOfItsPrompt) {
  const Answer answer = read("deepseek-r1", "<think>\nHm <think> hm\n</think>\nYes");
  EXPECT_EQ(answer.reasoning, "Hm <think> hm");
  EXPECT_EQ(answer.content, "Yes");
}

TEST(AnswerReaderTest, ThinkAtTheBeginningOfTheAnswerBeginsReasoning) {
  for (const char* format : {"deepseek-r1-0528", "deepseek-v3.1"}) {
    const Answer answer = read(format, " \n<think>\nHm\n</think>\n\nYes </think> <think>");
    EXPECT_EQ(answer.reasoning, "Hm");
    EXPECT_EQ(answer.content, "Yes </think> <think>");
  }
}

TEST(AnswerReaderTest, ThinkLaterInTheAnswerIsText) {
  const Answer answer = read("deepseek-v3.1", "\n\nUse <think>x</think> so.");
  EXPECT_EQ(answer.reasoning, "");
  EXPECT_EQ(answer.content, "Use <think>x</think> so.");
}

TEST(AnswerReaderTest, V3KnowsNoThinking) {
  const Answer answer = read("deepseek-v3", "\n<think>\nx</think>");
  EXPECT_EQ(answer.content, "\n<think>\nx</think>");
}

TEST(AnswerReaderTest, ReasoningThatNeverEndsIsReasoning) {
  const Answer answer = read("deepseek-r1", "So far\n");
  EXPECT_EQ(answer.reasoning, "So far\n");
  EXPECT_EQ(answer.content, "");
  EXPECT_EQ(read("deepseek-r1", "a </thin").reasoning, "a </thin");
  EXPECT_EQ(read("deepseek-r1", "\n</think>\n\n").reasoning, "");
}

TEST(AnswerReaderTest, FencedCallsOfV3) {
  const Answer answer =
      read("deepseek-v3",
           "Let me see.\n" + kCalls + fenced("get_weather", "{\"city\": \"São Paulo\"}") + "\n" +
               fenced("add", "{\n  \"a\": [1, {\"b\": \"}\\\"```\"}]\n}") + kCallsOver + kEos);
  EXPECT_EQ(answer.content, "Let me see.\n");
  EXPECT_EQ(answer.tool_calls, (std::vector<Answer::ToolCall>{
                                   {"get_weather", "{\"city\": \"São Paulo\"}", true},
                                   {"add", "{\n  \"a\": [1, {\"b\": \"}\\\"```\"}]\n}", true}}));
}

TEST(AnswerReaderTest, BareCallsOfV31) {
  const Answer answer = read("deepseek-v3.1", kCalls + bare("add", "{\"a\": 1}") +
                                                  bare("function", "{}") + kCallsOver + kEos);
  EXPECT_EQ(answer.content, "");
  EXPECT_EQ(answer.tool_calls,
            (std::vector<Answer::ToolCall>{{"add", "{\"a\": 1}", true}, {"function", "{}", true}}));
}

TEST(AnswerReaderTest, ArgumentsInAJsonStringAreTheObjectInIt) {
  const Answer answer =
      read("deepseek-v3.1", kCalls + bare("add", "\"{\\\"a\\\": 1}\"") + kCallsOver);
  EXPECT_EQ(answer.tool_calls, (std::vector<Answer::ToolCall>{{"add", "{\"a\": 1}", true}}));
}

TEST(AnswerReaderTest, CallsInsideReasoningLeaveItReasoning) {
  const Answer answer = read("deepseek-r1", "I need the time." + kCalls + fenced("now", "{}") +
                                                kCallsOver + "\nGo on.\n</think>\n\nDone.");
  EXPECT_EQ(answer.reasoning, "I need the time.\nGo on.");
  EXPECT_EQ(answer.content, "Done.");
  ASSERT_EQ(answer.tool_calls.size(), 1u);
}

TEST(AnswerReaderTest, CallsMayLackMarksThatSayNothing) {
  const std::string first = kCall + "function" + kSep + "f\n```json\n{}\n```";
  const std::vector<Answer::ToolCall> both = {{"f", "{}", true}, {"g", "{\"x\":1}", true}};
  EXPECT_EQ(read("deepseek-v3", kCalls + first + kCall + "g" + kSep + "{\"x\":1}").tool_calls,
            both);
  EXPECT_EQ(
      read("deepseek-v3", first + kCallOver + "\n" + bare("g", "{\"x\":1}") + kEos).tool_calls,
      both);
  EXPECT_EQ(read("deepseek-v3", kCalls + kCall + "function" + kSep + "f\n{}\n" + kCallOver + kCall +
                                    "g" + kSep + "```json\n{\"x\":1}```\n" + kCallsOver)
                .tool_calls,
            both);
}

TEST(AnswerReaderTest, MalformedCallsAreGivenBackAsText) {
  const std::string malformed[] = {
      kCalls,
      kCalls + "no call",
      kCalls + kCall,
      kCalls + kCall + "function",
      kCalls + kCall + "two words" + kSep + "{}" + kCallOver,
      kCalls + kCall + kSep + "{}" + kCallOver,
      kCalls + kCall + "function" + kSep + "name",
      kCalls + kCall + "function" + kSep + "name\nplain words",
      kCalls + kCall + "function" + kSep + "name\n```json\n[1]\n```",
      kCalls + kCall + "f" + kSep + "{\"a\": 1",
      kCalls + kCall + "f" + kSep + "{\"a\": 1" + kCallOver,
      kCalls + kCall + "f" + kSep + "{a: 1}" + kCallOver,
      kCalls + kCall + "f" + kSep + "{\"a\": \"not closed" + kCallOver,
      kCalls + kCall + "f" + kSep + "{\"a\": \"not\nclosed\"}" + kCallOver,
      kCalls + kCall + "f" + kSep + "{\"a\": \"\xFF\"}" + kCallOver,
      kCalls + kCall + "f" + kSep + "\"{\\\"a\\\"\"" + kCallOver,
      kCalls + kCall + "f" + kSep + "\"not an object\"" + kCallOver,
      kCalls + kCall + std::string(2000, 'n') + kSep + "{}" + kCallOver,
      kCalls + kCall + "f" + kSep + std::string(2000, ' ') + "{}" + kCallOver,
  };
  for (const std::string& text : malformed) {
    const AnswerFormat format = answer_format("deepseek-v3");
    if (text.size() > 1000) {
      EXPECT_EQ(read_answer(format, text).content, text);
      continue;
    }
    const Answer answer = read_all_ways(format, "A " + text);
    EXPECT_TRUE(answer.tool_calls.empty()) << text;
    EXPECT_EQ(answer.content, "A " + text);
  }
}

TEST(AnswerReaderTest, GoodCallsAroundAMalformedOneAreCalls) {
  const std::string bad = kCall + "bad" + kSep + "{\"a\": 1" + kCallOver;
  const Answer answer =
      read("deepseek-v3.1", kCalls + bare("f", "{}") + bad + bare("g", "{}") + kCallsOver);
  EXPECT_EQ(answer.tool_calls,
            (std::vector<Answer::ToolCall>{{"f", "{}", true}, {"g", "{}", true}}));
  EXPECT_EQ(answer.content, bad);
}

TEST(AnswerReaderTest, ArgumentsStreamAsTheyCome) {
  AnswerReader reader(answer_format("deepseek-v3.1"));
  reader.push(kCalls + kCall + "f" + kSep);
  std::vector<AnswerEvent> events = reader.push("{\"a\": \"lo");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Kind::kCallBegin);
  EXPECT_EQ(events[0].text, "f");
  EXPECT_EQ(events[1].text, "{\"a\": \"lo");
  EXPECT_EQ(events[1].call, 0);
  events = reader.push("ng\"}");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].text, "ng\"}");
  events = reader.push(kCallOver + bare("g", "{}"));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].kind, Kind::kCallEnd);
  EXPECT_EQ(events[1].call, 1);
}

TEST(AnswerReaderTest, ContentIsHeldBackOnlyWhileItMayBeAMark) {
  AnswerReader reader(answer_format("deepseek-v3"));
  EXPECT_EQ(reader.push("a <\xEF\xBD").front().text, "a ");
  EXPECT_TRUE(reader.push("\x9Ctool").empty());
  EXPECT_EQ(reader.push("box").front().text, "<｜toolbox");
  EXPECT_EQ(reader.push("b < c").front().text, "b < c");
  EXPECT_TRUE(reader.flush().empty());
}

TEST(AnswerFormatTest, UnknownNamesAreRefusedWithTheKnownOnes) {
  try {
    answer_format("gpt");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("deepseek-v3.1"), std::string::npos);
  }
  for (const std::string& name : answer_format_names()) EXPECT_NO_THROW(answer_format(name));
}

std::string golden_path(const std::string& name) {
  return std::string(DSV3_SOURCE_DIR) + "/tests/golden-text/" + name;
}
std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST(AnswerFormatTest, IsThatOfTheTemplateAndThePromptsEnd) {
  const auto detect = [](const char* file, const std::string& prompt) {
    return detect_answer_format(contents(golden_path("templates/") + file), prompt);
  };
  const std::string user = "<｜User｜>Say <think> <｜Assistant｜>", assistant = "<｜Assistant｜>";
  EXPECT_EQ(detect("deepseek-v3-tokenizer-config.jinja", user + assistant),
            answer_format("deepseek-v3"));
  EXPECT_EQ(detect("deepseek-r1-official.jinja", user + assistant + "<think>\n"),
            answer_format("deepseek-r1"));
  EXPECT_EQ(detect("deepseek-r1-official.jinja", user + assistant),
            answer_format("deepseek-r1-0528"));
  EXPECT_EQ(detect("deepseek-v3.1.jinja", user + assistant + "<think></think>"),
            answer_format("deepseek-v3.1"));
  EXPECT_EQ(detect("deepseek-v3.1.jinja", user + assistant + "<think>").start, Start::kReasoning);
  EXPECT_EQ(detect("deepseek-v3.1.jinja", user + assistant + "<think>I see").start,
            Start::kInReasoning);
  EXPECT_EQ(detect("deepseek-v3.1.jinja", user + assistant + "<think></think>Yes, ").start,
            Start::kInContent);
  EXPECT_EQ(detect("deepseek-v3.1.jinja",
                   assistant + "<｜tool▁output▁begin｜><think><｜tool▁output▁end｜>")
                .start,
            Start::kAnswer);
  EXPECT_EQ(detect("own-strict.jinja", "x").tool_calls, false);
  EXPECT_EQ(detect_answer_format("{{ '<think>' }}", "abc\n<think>\n").start, Start::kReasoning);
  EXPECT_EQ(detect_answer_format("no marks", "abc <think>"), answer_format("plain"));
}

/// What assistants say in the rendered golden conversations.
std::vector<std::string> golden_answers(const std::string& rendered) {
  const std::string begin = "<｜Assistant｜>";
  std::vector<std::string> answers;
  for (size_t at = rendered.find(begin); at != std::string::npos; at = rendered.find(begin, at)) {
    at += begin.size();
    size_t end = std::string::npos;
    for (const char* next :
         {"<｜User｜>", "<｜Assistant｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁output▁begin｜>"})
      end = std::min(end, rendered.find(next, at));
    answers.push_back(rendered.substr(at, end == std::string::npos ? end : end - at));
  }
  return answers;
}

TEST(AnswerGoldenTest, EveryGoldenAnswerIsTheSameHoweverItIsCut) {
  std::ifstream file(golden_path("chat.jsonl"));
  size_t answers = 0, calls = 0, reasonings = 0;
  for (std::string line; std::getline(file, line);) {
    const Json json = parse_json(line, "chat.jsonl");
    if (!json.contains("rendered")) continue;
    const std::string source =
        contents(golden_path("templates/" + json["template"].get<std::string>()));
    for (const std::string& text : golden_answers(json["rendered"].get<std::string>())) {
      if (text.size() > 600) continue;
      AnswerFormat format = detect_answer_format(source, "<｜Assistant｜>");
      const Answer answer = read_all_ways(format, text);
      ++answers;
      calls += answer.tool_calls.size();
      reasonings += answer.reasoning.empty() ? 0 : 1;
      if (format.tool_calls) {
        EXPECT_EQ(answer.content.find("tool▁"), std::string::npos) << text;
      }
      for (const Answer::ToolCall& call : answer.tool_calls) {
        EXPECT_TRUE(call.complete);
        EXPECT_TRUE(Json::accept(call.arguments));
      }
    }
  }
  EXPECT_GT(answers, 150u);
  EXPECT_GT(calls, 20u);
  EXPECT_GT(reasonings, 2u);
}

TEST(AnswerPropertyTest, RandomMixturesOfMarksLoseNothing) {
  const std::vector<std::string> parts = {
      kCalls,     kCallsOver,   kCall,      kCallOver, kSep,        kEos,    "<think>",
      "</think>", "function",   "f",        "\n",      "```json\n", "\n```", "{",
      "}",        "{\"a\": 1}", "\"",       "\"{}\"",  " ",         "text",  "<",
      "<｜",      "\xEF",       "\xBD\x9C", "\\",      "[",         "]",     ":"};
  std::mt19937 random(20250314);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> pieces;
    std::string text;
    for (size_t n = random() % 14 + 1; n > 0; --n) {
      pieces.push_back(parts[random() % parts.size()]);
      text += pieces.back();
    }
    const AnswerFormat format{.thinking = random() % 2 == 0,
                              .tool_calls = random() % 4 != 0,
                              .start = static_cast<Start>(random() % 4)};
    const std::vector<AnswerEvent> whole = read_pieces(format, {text});
    ASSERT_EQ(sources(whole), text);
    ASSERT_EQ(read_pieces(format, pieces), whole) << text;
    std::vector<std::string> bytes;
    for (const char c : text) bytes.emplace_back(1, c);
    ASSERT_EQ(read_pieces(format, bytes), whole) << text;
    ASSERT_EQ(sources(read_pieces(format, bytes, false)), text);
  }
}

}  // namespace
}  // namespace dsv3
