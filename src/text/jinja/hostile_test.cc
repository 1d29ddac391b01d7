// Templates that try to exhaust something, and random damage to real ones.

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"

namespace dsv3::jinja {
namespace {

std::string rendered(const std::string& source, const TemplateLimits& limits = {}) {
  const Program program = compile(source, limits);
  return render(program, {}, limits, std::nullopt);
}

std::string repeated(std::string_view text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

TEST(JinjaHostileTest, TemplatesThatExhaustSomethingAreCutOff) {
  const std::string in_loop =
      "{% set ns = namespace(x='ab', l=[1]) %}{% for i in range(100000) %}{% for j in range(1000) "
      "%}";
  const std::string end = "{% endfor %}{% endfor %}";
  const std::vector<std::string> sources = {
      "{{ range(10**12) | list }}",
      "{{ 'a' * 10**12 }}",
      "{{ [0] * 10**12 }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ 2 ** 10000000 }}",
      "{{ -9223372036854775807 - 2 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      in_loop + "{% set ns.x = ns.x + ns.x %}" + end,
      in_loop + "{% set ns.x = ns.x ~ ns.x %}" + end,
      in_loop + "{% set ns.x = ns.x * 2 %}" + end,
      in_loop + "{% set ns.l = ns.l + ns.l %}" + end,
      in_loop + "{% set ns.l = [ns.l] %}" + end,
      in_loop + "{% set ns.l = [ns.l, ns.l] %}" + end,
      in_loop + "{% set ns.l = {'a': ns.l} %}" + end,
      in_loop + "{% set ns.l = ([ns.l] | reverse) %}" + end,
      in_loop + "{% set ns.l = {'a': ns.l}.items() %}" + end,
      in_loop + "{% set ns.l = [ns.l].count %}" + end,
      in_loop + "{% set ns.l = cycler(ns.l) %}" + end,
      in_loop + "{% set ns.l = namespace(l=ns.l) %}" + end,
      in_loop + end,
      in_loop + "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" +
          end,
      in_loop + "{% set ns.x = ns.x | replace('a', 'aaaa') %}" + end,
      in_loop + "{% set ns.x = (ns.x ~ '\n') | indent(1000, true) %}" + end,
      in_loop + "{% set ns.x = [ns.x, ns.x] | join(ns.x) %}" + end,
      in_loop + "{% set ns.x = ns.x | tojson | tojson %}" + end,
      in_loop + "{% set ns.x = ns.x | e | e %}" + end,
      in_loop + "{% macro m() %}{% endmacro %}{% set ns.x = m %}" + end,
      "{{ ('\\n' * 1000 * 60000).splitlines() }}",
      "{{ ('a ' * 1000 * 30000).split() }}",
      "{{ ('\\n' * 1000 * 60000) | indent }}",
      "{{ ('a' * 1000 * 60000) | wordwrap(1) }}",
      "{{ 'x' | indent(10**12, true) }}",
      "{{ 'x' | center(10**12) }}",
      "{{ 'x'.ljust(10**15) }}",
      "{{ '7'.zfill(10**15) }}",
      "{{ '\t'.expandtabs(10**15) }}",
      "{{ '%999999999d' % 1 }}",
      "{{ '%.999999999f' % 1 }}",
      "{{ '{:999999999}'.format(1) }}",
      "{{ [1] | batch(10**12, 0) | list }}",
      "{{ [1] | slice(10**12) | list }}",
      "{{ [[1]] | tojson(indent=10**12) }}",
      "{{ range(100000) | list | join('" + std::string(2000, 'x') + "') }}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}",
      "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{% set ns = namespace(x=namespace()) %}{% for i in range(9999) %}"
      "{% set ns.x = namespace(x=[ns.x]) %}{% endfor %}{{ ns }}",
      "{{ " + repeated("(", 100000) + "1" + repeated(")", 100000) + " }}",
      "{{ " + repeated("[", 100000) + repeated("]", 100000) + " }}",
      "{{ " + repeated("not ", 100000) + "1 }}",
      "{{ " + repeated("-", 100000) + "1 }}",
      "{{ 1" + repeated(" + 1", 100000) + " }}",
      "{{ 1" + repeated(" if 1 else 1", 100000) + " }}",
      "{{ x" + repeated("|upper", 100000) + " }}",
      "{{ x" + repeated(".a", 100000) + " }}",
      "{{ x" + repeated("()", 100000) + " }}",
      repeated("{% if 1 %}", 100000),
      repeated("{% for x in y %}", 100000),
      "{% for " + repeated("(", 100000) + "x in y %}{% endfor %}",
      "{% set " + repeated("(", 100000) + " = 1 %}",
      "{{ 1 is in " + repeated("[", 10000) + " }}",
  };
  for (const std::string& source : sources) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_THROW(rendered(source), TemplateError) << source.substr(0, 200);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    EXPECT_LT(time.count(), 20) << source.substr(0, 200);
  }
}

TEST(JinjaHostileTest, DeepCallsWithinTheLimitWork) {
  EXPECT_EQ(
      rendered("{% macro f(n) %}{% if n %}{% for i in [1] %}{{ f(n - 1) }}{% endfor %}{% endif %}x"
               "{% endmacro %}{{ f(150) | length }}"),
      "151");
  EXPECT_EQ(rendered("{{ " + repeated("(", 150) + "1" + repeated(")", 150) + " }}"), "1");
  EXPECT_EQ(rendered("{{ '' " + repeated("+ 'a' ", 500) + "}}"), std::string(500, 'a'));
}

TEST(JinjaHostileTest, LimitsCanBeSet) {
  TemplateLimits limits;
  limits.max_steps = 1000;
  EXPECT_THROW(rendered("{% for i in range(2000) %}{% endfor %}", limits), TemplateError);
  limits = {};
  limits.max_string_bytes = 100;
  EXPECT_EQ(rendered("{{ 'a' * 100 }}", limits), std::string(100, 'a'));
  EXPECT_THROW(rendered("{{ 'a' * 101 }}", limits), TemplateError);
  EXPECT_THROW(rendered("{{ 'a' * 99 }}bb", limits), TemplateError);
  limits = {};
  limits.max_memory_bytes = 100000;
  EXPECT_THROW(rendered("{% set x = range(5000) | list %}{% set y = x + x %}", limits),
               TemplateError);
  limits = {};
  limits.max_depth = 20;
  EXPECT_THROW(rendered("{% macro f(n) %}{{ f(n - 1) if n }}{% endmacro %}{{ f(30) }}", limits),
               TemplateError);
  EXPECT_THROW(rendered("{{ " + repeated("(", 30) + "1" + repeated(")", 30) + " }}", limits),
               TemplateError);
}

TEST(JinjaErrorTest, TellPlaceAndSourceLine) {
  try {
    rendered("line one\n{% if true %}é{{ 1 + 'a' }}{% endif %}\n");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.phase(), TemplateError::Phase::kRender);
    EXPECT_EQ(e.line(), 2);
    EXPECT_EQ(e.column(), 20);
    const std::string what = e.what();
    EXPECT_NE(what.find("line 2, column 20\n  {% if true %}é{{ 1 + 'a' }}{% endif %}\n" +
                        std::string(21, ' ') + "^"),
              std::string::npos)
        << what;
  }
  try {
    rendered("a\n\n  {% for x %}");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.phase(), TemplateError::Phase::kParse);
    EXPECT_EQ(e.line(), 3);
    EXPECT_EQ(e.column(), 12);
  }
}

TEST(JinjaErrorTest, CaretStandsBelowThePlaceWhereTabsAreAndControlsAreLeftOut) {
  try {
    rendered("\t{{ 'a\x1b[2J\x7f' }}\t{{ 1 + 'a' }}");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(std::string(e.what()),
              "chat template: unsupported operand type(s) for +: 'int' and 'str'\n"
              "at line 1, column 22\n"
              "  \t{{ 'a [2J ' }}\t{{ 1 + 'a' }}\n"
              "  \t              \t     ^");
  }
}

TEST(JinjaErrorTest, ATagThatIsNotClosedIsNamedWithItsLine) {
  try {
    rendered("{% for m in x %}\n{{ [1,\n2] }}  {% if m %}\n{% endfor %}");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.reason(), "unknown tag 'endfor'; 'if' of line 3 needs 'elif' or 'else' or 'endif'");
    EXPECT_EQ(e.line(), 4);
  }
}

TEST(JinjaErrorTest, AStringThatIsNotClosedIsNamed) {
  try {
    rendered("{{ 'abc }}\n{{ x }}");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.reason(), "this string is not closed");
    EXPECT_EQ(e.column(), 4);
  }
}

// Values that hold themselves must still be freed; the leak checker of the asan build sees to it.
TEST(JinjaHostileTest, CyclesAreFreed) {
  EXPECT_EQ(rendered("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}"),
            "<Namespace {'a': [<Namespace {...}>]}>");
  EXPECT_EQ(rendered("{% set ns = namespace() %}{% for i in [1, 2] %}{% set ns.l = loop %}"
                     "{% set _ = loop.changed(loop.changed) %}{% endfor %}x"),
            "x");
  EXPECT_EQ(rendered("{% macro m() %}{% set k = m %}{% macro i() %}{{ i }}{% endmacro %}{% "
                     "endmacro %}{{ m() }}x"),
            "x");
}

TEST(JinjaFuzzTest, DamagedTemplatesRenderOrFailCleanly) {
  const std::filesystem::path folder =
      std::filesystem::path(DSV3_SOURCE_DIR) / "tests/golden-text/templates";
  std::vector<std::string> sources;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    sources.push_back(read_file(entry.path()));
  std::sort(sources.begin(), sources.end());
  const Value messages = parse_json_value(
      R"([{"role":"system","content":"S"},{"role":"user","content":"Hé"},
          {"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":{"x":1}}}]},
          {"role":"tool","content":"4"},{"role":"assistant","content":"<think>a</think>b"}])",
      "messages");
  TemplateLimits limits;
  limits.max_steps = 200'000;
  limits.max_string_bytes = 1 << 20;
  limits.max_memory_bytes = 8 << 20;
  std::mt19937 random(20250314);
  const auto below = [&](size_t n) { return n == 0 ? 0 : random() % n; };
  static constexpr std::string_view kPieces[] = {
      "{%",          "%}",      "{{",       "}}",    "(",
      ")",           "[",       "]",        "|",     "~",
      "loop",        "ns",      " is ",     " not ", "{% endfor %}",
      "{% endif %}", "'",       "\\",       "-",     "* 9",
      "recursive",   "{% set ", "é",        ".",     ":",
      "**",          "{#",      "{% raw %}"};
  for (int round = 0; round < 4000; ++round) {
    std::string source = sources[below(sources.size())];
    for (size_t edits = 1 + below(4); edits > 0; --edits) {
      const size_t at = below(source.size());
      switch (below(5)) {
        case 0:
          source.erase(at, 1 + below(12));
          break;
        case 1:
          source.insert(at, kPieces[below(std::size(kPieces))]);
          break;
        case 2:
          source[at] = static_cast<char>(below(256));
          break;
        case 3:
          source.insert(at, source.substr(below(source.size()), below(60)));
          break;
        default:
          source.resize(at);
          break;
      }
      if (source.empty()) source = "x";
    }
    try {
      const Program program = compile(source, limits);
      render(program,
             {{"messages", messages}, {"tools", messages}, {"add_generation_prompt", Value(true)}},
             limits, std::nullopt);
    } catch (const TemplateError&) {
    }
  }
}

}  // namespace
}  // namespace dsv3::jinja
