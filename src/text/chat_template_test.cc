#include "dsv3/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/file.h"
#include "base/json.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"
#include "text/test_files.h"

namespace dsv3 {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(DSV3_SOURCE_DIR) / "tests/golden-text";

std::vector<Json> lines_of(const std::filesystem::path& path) {
  std::vector<Json> out;
  std::ifstream in(path, std::ios::binary);
  for (std::string line; std::getline(in, line);) out.push_back(parse_json(line, path.string()));
  return out;
}

// The clock of the goldens: Friday 2025-03-14 09:26:53.
std::tm golden_now() {
  std::tm t{};
  t.tm_year = 125;
  t.tm_mon = 2;
  t.tm_mday = 14;
  t.tm_hour = 9;
  t.tm_min = 26;
  t.tm_sec = 53;
  t.tm_wday = 5;
  t.tm_yday = 72;
  return t;
}

std::string render_jinja(const std::string& source, const std::string& context = "{}",
                         const TemplateLimits& limits = {}) {
  const jinja::Program program = jinja::compile(source, limits);
  const jinja::Value variables = jinja::parse_json_value(context, "context");
  jinja::Context values;
  for (const auto& [key, value] : variables.dict().items) values.emplace_back(key.text(), value);
  return jinja::render(program, values, limits, golden_now());
}

TEST(JinjaGoldenTest, SnippetsRenderAsJinjaDoes) {
  const std::vector<Json> cases = lines_of(kGolden / "jinja.jsonl");
  ASSERT_EQ(cases.size(), 217u);
  for (const Json& c : cases) {
    const std::string name = c["name"];
    const bool lenient = c.contains("lenient");
    try {
      const std::string out = render_jinja(c["template"], c["context"].dump());
      if (c.contains("expected")) {
        EXPECT_EQ(out, c["expected"].get<std::string>()) << name;
      } else {
        EXPECT_TRUE(lenient) << name << " should fail: " << c["error"]["message"] << "\ngot "
                             << out;
      }
    } catch (const TemplateError& e) {
      if (!c.contains("error")) {
        EXPECT_TRUE(lenient) << name << ": " << e.what();
        continue;
      }
      const Json& error = c["error"];
      EXPECT_EQ(e.raised_by_template(), error["raised_by_template"].get<bool>()) << name;
      if (e.raised_by_template()) {
        EXPECT_EQ(e.reason(), error["message"].get<std::string>()) << name;
      }
      EXPECT_EQ(e.phase() == TemplateError::Phase::kParse, error["phase"] == "parse")
          << name << ": " << e.what();
    }
  }
}

ChatTemplate golden_template(const std::string& file) {
  return ChatTemplate::from_source(read_file(kGolden / "templates" / file),
                                   {{"bos_token", "<｜begin▁of▁sentence｜>"},
                                    {"eos_token", "<｜end▁of▁sentence｜>"},
                                    {"pad_token", "<｜end▁of▁sentence｜>"}});
}

TEST(ChatTemplateGoldenTest, ConversationsRenderAsTransformersDoes) {
  const std::vector<Json> cases = lines_of(kGolden / "chat.jsonl");
  ASSERT_EQ(cases.size(), 272u);
  std::map<std::string, ChatTemplate> templates;
  for (const Json& c : cases) {
    const std::string file = c["template"],
                      name = file + " " + c["conversation"].get<std::string>();
    if (!templates.count(file)) templates.emplace(file, golden_template(file));
    ChatOptions options;
    options.now = golden_now();
    if (c.contains("tools")) options.tools_json = c["tools"].dump();
    Json kwargs = c["kwargs"];
    if (kwargs.contains("continue_final_message")) {
      options.continue_final_message = kwargs["continue_final_message"].get<bool>();
      kwargs.erase("continue_final_message");
    }
    if (kwargs.contains("add_generation_prompt")) {
      options.add_generation_prompt = kwargs["add_generation_prompt"].get<bool>();
      kwargs.erase("add_generation_prompt");
    }
    options.kwargs_json = kwargs.dump();
    try {
      const std::string out = templates.at(file).render(c["messages"].dump(), options);
      ASSERT_TRUE(c.contains("rendered")) << name << " should fail: " << c["error"]["message"];
      EXPECT_EQ(out, c["rendered"].get<std::string>()) << name;
    } catch (const Error& e) {
      ASSERT_TRUE(c.contains("error")) << name << ": " << e.what();
      if (!c["error"]["raised_by_template"].get<bool>()) continue;
      const auto* of_template = dynamic_cast<const TemplateError*>(&e);
      ASSERT_NE(of_template, nullptr) << name;
      EXPECT_TRUE(of_template->raised_by_template()) << name;
      EXPECT_EQ(of_template->reason(), c["error"]["message"].get<std::string>()) << name;
    }
  }
}

TEST(ChatTemplateTest, FolderGivesTemplateAndSpecialTokens) {
  const TempFolder folder;
  folder.write("tokenizer_config.json",
               R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "unk_token": null,
    "chat_template": [{"name": "default", "template": "{{ bos_token }}D{{ unk_token is defined }}"},
                      {"name": "tool_use", "template": "T{{ tools | length }}{{ eos_token }}"}]})");
  const ChatTemplate both = ChatTemplate::from_folder(folder.path());
  EXPECT_EQ(both.render("[]"), "<s>DFalse");
  EXPECT_EQ(both.render("[]", {.tools_json = R"([{"a": 1}])"}), "T1</s>");

  folder.write("chat_template.json", R"({"chat_template": "J{{ bos_token }}"})");
  EXPECT_EQ(ChatTemplate::from_folder(folder.path()).render("[]"), "J<s>");
  folder.write("chat_template.jinja", "F{{ eos_token }}\n");
  EXPECT_EQ(ChatTemplate::from_folder(folder.path()).render("[]"), "F</s>");
  EXPECT_THROW(ChatTemplate::from_folder(folder.path() / "absent"), Error);
}

TEST(ChatTemplateTest, KwargsWinOverSpecialTokens) {
  const ChatTemplate t =
      ChatTemplate::from_source("{{ bos_token }}{{ x }}", {{"bos_token", "<s>"}});
  EXPECT_EQ(t.render("[]", {.kwargs_json = R"({"bos_token": "B", "x": 1})"}), "B1");
  EXPECT_THROW(t.render("[]", {.kwargs_json = R"({"messages": []})"}), Error);
}

TEST(ChatTemplateTest, ContinuesTheLastTextPart) {
  const ChatTemplate t = ChatTemplate::from_source(
      "{% for m in messages %}[{% for p in m.content %}{{ p.text | trim }};{% endfor %}]{% endfor "
      "%}",
      {});
  EXPECT_EQ(
      t.render(
          R"([{"role": "assistant", "content": [{"text": "a"}, {"text": "b "}, {"image": 1}]}])",
          {.continue_final_message = true}),
      "[a;b");
  EXPECT_THROW(t.render(R"([{"role": "assistant"}])", {.continue_final_message = true}), Error);
  EXPECT_THROW(t.render("[]", {.continue_final_message = true}), Error);
}

TEST(ChatTemplateTest, MalformedArgumentsAreErrorsThatNameThem) {
  const ChatTemplate t = ChatTemplate::from_source("x", {});
  for (const char* messages : {"", "{", "{}", "[1,]", "3", "[\"\xff\"]"}) {
    try {
      t.render(messages);
      FAIL() << messages;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("messages"), std::string::npos) << e.what();
    }
  }
  EXPECT_THROW(t.render("[]", {.tools_json = "[1]"}), Error);
  EXPECT_THROW(ChatTemplate::from_source("\xff", {}), TemplateError);
}

TEST(ChatTemplateTest, ThreadsShareOneTemplate) {
  const ChatTemplate t = ChatTemplate::from_source(
      "{% macro m(x) %}<{{ x ~ 'abc' }}>{% endmacro %}{% for i in range(200) %}{{ m(i) }}{% endfor "
      "%}",
      {});
  const std::string expected = t.render("[]");
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (std::string& result : results) threads.emplace_back([&] { result = t.render("[]"); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) EXPECT_EQ(result, expected);
}

}  // namespace
}  // namespace dsv3
