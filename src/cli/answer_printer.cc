#include "cli/answer_printer.h"

#include <fmt/format.h>

#include <utility>

#include "cli/generate_report.h"

namespace dsv3::cli {
namespace {

constexpr std::string_view kDim = "\x1b[2m", kPlainStyle = "\x1b[0m", kClearLine = "\r\x1b[K";

/// The text without what a terminal would obey: control characters but line breaks and tabs.
std::string harmless(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBF\xBD";  // U+FFFD
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if (c == 0xC2 && next >= 0x80 && next < 0xA0) {  // U+0080 to U+009F
      result += kMark;
      ++i;
    } else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
      if (c != '\r') result += kMark;
    } else {
      result += text[i];
    }
  }
  return result;
}

}  // namespace

Json answer_json(const Answer& answer) {
  Json calls = Json::array();
  for (const Answer::ToolCall& call : answer.tool_calls) {
    calls.push_back(
        {{"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  return {{"reasoning", answer.reasoning}, {"content", answer.content}, {"tool_calls", calls}};
}

std::string AnswerPrinter::print(const AnswerEvent& event) {
  using Kind = AnswerEvent::Kind;
  switch (event.kind) {
    case Kind::kReasoning:
    case Kind::kContent: {
      if (event.text.empty()) break;
      const bool reasoning = event.kind == Kind::kReasoning;
      begin(reasoning ? Part::kReasoning : Part::kContent);
      if (!(reasoning && fold_)) add(event.text);
      break;
    }
    case Kind::kCallBegin:
    case Kind::kCallArguments:
    case Kind::kCallEnd:
    case Kind::kCallCancelled:
      add_call(event);
      break;
    case Kind::kMark:
      break;
  }
  return std::exchange(out_, {});
}

std::string AnswerPrinter::end() {
  begin(Part::kNone);
  if (line_open_) out_ += '\n';
  line_open_ = false;
  return std::exchange(out_, {});
}

void AnswerPrinter::begin(Part part) {
  if (part == part_) return;
  if (part_ == Part::kReasoning) end_reasoning(/*more=*/part != Part::kNone);
  if (part_ == Part::kCall && style_ == Style::kTerminal) out_ += kPlainStyle;
  if (part == Part::kCall && line_open_) add("\n");
  part_ = part;
  if (part == Part::kReasoning) begin_reasoning();
  if (part == Part::kCall && style_ == Style::kTerminal) out_ += kDim;
}

void AnswerPrinter::begin_reasoning() {
  if (line_open_) add("\n");
  if (style_ == Style::kPlain) {
    if (!fold_) add("<think>\n");
    return;
  }
  reasoning_began_ = std::chrono::steady_clock::now();
  out_ += kDim;
  if (fold_) out_ += "(thinking ...)";
}

void AnswerPrinter::end_reasoning(bool more) {
  if (style_ == Style::kPlain) {
    if (fold_) return;
    if (line_open_) add("\n");
    add("</think>\n");
  } else {
    if (fold_) {
      const std::chrono::duration<double> took =
          std::chrono::steady_clock::now() - reasoning_began_;
      out_ += fmt::format("{}(thought for {:.1f} s)\n", kClearLine, took.count());
    } else if (line_open_) {
      add("\n");
    }
    out_ += kPlainStyle;
  }
  if (more) out_ += '\n';
}

void AnswerPrinter::add(std::string_view text) {
  out_ += style_ == Style::kTerminal ? harmless(text) : std::string(text);
  line_open_ = text.back() != '\n';
}

void AnswerPrinter::add_call(const AnswerEvent& event) {
  using Kind = AnswerEvent::Kind;
  if (style_ == Style::kTerminal) {
    if (event.kind == Kind::kCallBegin) {
      begin(Part::kCall);
      add("[" + event.text + " ");
    } else if (event.kind == Kind::kCallArguments) {
      add(event.text);
    } else {
      add("]\n");
      begin(Part::kNone);
    }
    return;
  }
  if (event.kind == Kind::kCallBegin) call_ = {event.text, "", false};
  if (event.kind == Kind::kCallArguments) call_.arguments += event.text;
  if (event.kind != Kind::kCallEnd) return;
  begin(Part::kCall);
  add(json_line(
      {{"name", call_.name}, {"arguments", Json::parse(call_.arguments, nullptr, false)}}));
  begin(Part::kNone);
}

std::string AnswerText::print(const std::vector<AnswerEvent>& events) {
  std::string text;
  for (const AnswerEvent& event : events) text += printer_.print(event);
  return text;
}

}  // namespace dsv3::cli
