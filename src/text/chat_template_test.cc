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
        EXPECT_TRUE(lenient) << name << " should fail: " << c["error"]["message"] << "\ngot " << out;
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
      EXPECT_EQ(e.phase() == TemplateError::Phase::kParse, error["phase"] == "parse") << name << ": " << e.what();
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
    const std::string file = c["template"], name = file + " " + c["conversation"].get<std::string>();
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

}  // namespace
}  // namespace dsv3
