#include "dsv3/answer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/answer/call_header.h"
#include "text/answer/marks.h"

namespace dsv3 {
namespace {

using Start = AnswerFormat::Start;
using namespace answer;

constexpr std::pair<std::string_view, AnswerFormat> kFormats[] = {
    {"plain", {}},
    {"deepseek-v3", {.thinking = false, .tool_calls = true}},
    {"deepseek-v3-0324", {.thinking = false, .tool_calls = true}},
    {"deepseek-r1", {.thinking = true, .tool_calls = true, .start = Start::kReasoning}},
    {"deepseek-r1-0528", {.thinking = true, .tool_calls = true}},
    {"deepseek-v3.1", {.thinking = true, .tool_calls = true}},
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// What the prompt has already of the answer: all after the last mark that ends somebody's turn.
std::string_view begun_answer(std::string_view prompt) {
  size_t begin = 0;
  for (const std::string_view mark :
       {"<｜Assistant｜>", "<｜User｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁end｜>"}) {
    const size_t at = prompt.rfind(mark);
    if (at != std::string_view::npos) begin = std::max(begin, at + mark.size());
  }
  if (begin > 0) return prompt.substr(begin);
  // Another family's template: only a <think> at the very end tells.
  const size_t end = prompt.find_last_not_of(kSpaces) + 1;
  return prompt.substr(0, end).ends_with(kThinkBegin) ? prompt.substr(end - kThinkBegin.size())
                                                      : std::string_view();
}

Start start_after(std::string_view begun) {
  const auto place = [&](std::string_view mark) {  // after the last one; 0: there is none
    const size_t at = begun.rfind(mark);
    return at == std::string_view::npos ? 0 : at + mark.size();
  };
  const size_t opened = place(kThinkBegin), closed = place(kThinkEnd);
  const bool in_reasoning = opened > closed;
  const bool blank = skip_spaces(begun.substr(std::max(opened, closed))).empty();
  if (in_reasoning) return blank ? Start::kReasoning : Start::kInReasoning;
  return blank ? Start::kAnswer : Start::kInContent;
}

}  // namespace

std::vector<std::string> answer_format_names() {
  std::vector<std::string> names;
  for (const auto& [name, format] : kFormats) names.emplace_back(name);
  return names;
}

AnswerFormat answer_format(std::string_view name) {
  for (const auto& [known, format] : kFormats) {
    if (known == name) return format;
  }
  fail("there is no answer format '{}': expected one of {}", name,
       fmt::join(answer_format_names(), ", "));
}

AnswerFormat detect_answer_format(std::string_view template_source,
                                  std::string_view rendered_prompt) {
  AnswerFormat format;
  format.tool_calls = contains(template_source, kCallsBegin);
  format.thinking = contains(template_source, kThinkBegin) || contains(template_source, kThinkEnd);
  if (format.thinking) format.start = start_after(begun_answer(rendered_prompt));
  return format;
}

void Answer::add(const AnswerEvent& event) {
  using Kind = AnswerEvent::Kind;
  const auto found = std::find(numbers_.begin(), numbers_.end(), event.call);
  const auto index = found - numbers_.begin();
  const auto call = tool_calls.begin() + index;
  switch (event.kind) {
    case Kind::kReasoning:
      reasoning += event.text;
      break;
    case Kind::kContent:
      content += event.text;
      break;
    case Kind::kCallBegin:
      tool_calls.push_back({event.text, "", false});
      numbers_.push_back(event.call);
      break;
    case Kind::kCallArguments:
      if (found != numbers_.end()) call->arguments += event.text;
      break;
    case Kind::kCallEnd:
      if (found != numbers_.end()) call->complete = true;
      break;
    case Kind::kCallCancelled:
      if (found == numbers_.end()) break;
      tool_calls.erase(call);
      numbers_.erase(found);
      break;
    case Kind::kMark:
      break;
  }
}

Answer read_answer(const AnswerFormat& format, std::string_view text) {
  AnswerReader reader(format);
  Answer answer;
  for (const AnswerEvent& event : reader.push(text)) answer.add(event);
  for (const AnswerEvent& event : reader.flush()) answer.add(event);
  return answer;
}

AnswerDecoder::AnswerDecoder(Tokenizer tokenizer)
    : tokenizer_(std::move(tokenizer)), decoder_(tokenizer_) {}

std::string AnswerDecoder::push(int64_t id) {
  const std::string_view text = tokenizer_.token_bytes(id);
  const bool dropped = tokenizer_.is_special(id) &&
                       std::find(std::begin(kMarks), std::end(kMarks), text) == std::end(kMarks);
  return dropped ? std::string() : decoder_.push(id);
}

}  // namespace dsv3
