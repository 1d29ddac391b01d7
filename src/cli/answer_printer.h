#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "dsv3/answer.h"

namespace dsv3::cli {

/// {"reasoning", "content", "tool_calls"}, the latter as OpenAI's API writes them.
Json answer_json(const Answer& answer);

/// An answer as text for people, while it comes.
class AnswerPrinter {
 public:
  enum class Style {
    /// For pipes: reasoning between <think> and </think>, each complete call as a line of JSON.
    kPlain,
    /// For terminals: reasoning and calls dimmed; control characters, which could be commands to
    /// the terminal, are made visible.
    kTerminal,
  };
  /// `fold`: leave reasoning out; on a terminal there is a line that it comes, and then how long it
  /// took.
  explicit AnswerPrinter(Style style, bool fold = false) : style_(style), fold_(fold) {}

  /// What to print for one more event of a reader. In kPlain, the reader must not stream arguments.
  std::string print(const AnswerEvent& event);
  /// What to print after the last one; a line break is among it unless a line has just begun.
  std::string end();

 private:
  enum class Part { kNone, kReasoning, kContent, kCall };
  void begin(Part part);
  void begin_reasoning();
  void end_reasoning(bool more);
  void add(std::string_view text);
  void add_call(const AnswerEvent& event);

  Style style_;
  bool fold_;
  Part part_ = Part::kNone;
  bool line_open_ = false;
  std::string out_;
  Answer::ToolCall call_;
  std::chrono::steady_clock::time_point reasoning_began_;
};

/// From pieces of an answer to pieces of text for people, in the plain style.
class AnswerText {
 public:
  explicit AnswerText(const AnswerFormat& format) : reader_(format, /*stream_arguments=*/false) {}
  std::string push(std::string_view piece) { return print(reader_.push(piece)); }
  /// What is left at the end; a line break is among it unless a line has just begun.
  std::string flush() { return print(reader_.flush()) + printer_.end(); }

 private:
  std::string print(const std::vector<AnswerEvent>& events);

  AnswerReader reader_;
  AnswerPrinter printer_{AnswerPrinter::Style::kPlain};
};

}  // namespace dsv3::cli
