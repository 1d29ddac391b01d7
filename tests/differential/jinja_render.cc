// Renders templates for jinja_differential.py: one JSON object with "template", "context" and
// perhaps "now" ([year, month, day, hour, minute, second]) on each line of the input, one with
// "output" or "error" and "phase" on each line of the output.

#include <iostream>
#include <optional>
#include <string>

#include "base/json.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"

namespace {

std::optional<std::tm> time_of(const dsv3::Json& test) {
  if (!test.contains("now")) return std::nullopt;
  const auto part = [&](size_t i) { return test.at("now").at(i).get<int>(); };
  std::tm now = {};
  now.tm_year = part(0) - 1900;
  now.tm_mon = part(1) - 1;
  now.tm_mday = part(2);
  now.tm_hour = part(3);
  now.tm_min = part(4);
  now.tm_sec = part(5);
  now.tm_isdst = -1;
  std::mktime(&now);  // the day of the week and of the year
  return now;
}

std::string rendered(const dsv3::Json& test) {
  using namespace dsv3;
  const TemplateLimits limits;
  const jinja::Program program = jinja::compile(test.at("template").get<std::string>(), limits);
  const jinja::Value variables = jinja::parse_json_value(test.at("context").dump(), "context");
  jinja::Context context;
  for (const auto& [key, value] : variables.dict().items) context.emplace_back(key.text(), value);
  return jinja::render(program, context, limits, time_of(test));
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    dsv3::Json answer;
    try {
      answer["output"] = rendered(dsv3::parse_json(line, "input"));
    } catch (const dsv3::TemplateError& e) {
      answer["error"] = e.reason();
      answer["phase"] = e.phase() == dsv3::TemplateError::Phase::kParse ? "parse" : "render";
    } catch (const std::exception& e) {
      answer["error"] = e.what();
      answer["phase"] = "input";
    }
    std::cout << answer.dump() << std::endl;
  }
}
