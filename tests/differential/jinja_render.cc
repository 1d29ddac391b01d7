// Renders templates for jinja_differential.py: one JSON object with "template" and "context" on
// each line of the input, one with "output" or "error" and "phase" on each line of the output.

#include <iostream>
#include <string>

#include "base/json.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"

int main() {
  using namespace dsv3;
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      const Json test = parse_json(line, "input");
      const TemplateLimits limits;
      const jinja::Program program = jinja::compile(test.at("template").get<std::string>(), limits);
      const jinja::Value variables = jinja::parse_json_value(test.at("context").dump(), "context");
      jinja::Context context;
      for (const auto& [key, value] : variables.dict().items)
        context.emplace_back(key.text(), value);
      answer["output"] = jinja::render(program, context, limits, std::nullopt);
    } catch (const TemplateError& e) {
      answer["error"] = e.reason();
      answer["phase"] = e.phase() == TemplateError::Phase::kParse ? "parse" : "render";
    } catch (const std::exception& e) {
      answer["error"] = e.what();
      answer["phase"] = "input";
    }
    std::cout << answer.dump() << std::endl;
  }
}
