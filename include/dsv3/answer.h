#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dsv3/tokenizer.h"

namespace dsv3 {

/// How a model's answer begins, and which marks it has.
struct AnswerFormat {
  /// Where the prompt left off.
  enum class Start : uint8_t {
    kAnswer,       ///< at the answer's begin; where `thinking`, <think> may come
    kReasoning,    ///< the prompt ends with <think>
    kInReasoning,  ///< within reasoning that the prompt began
    kInContent,    ///< within content that the prompt began
  };

  bool thinking = false;    ///< <think> and </think> are marks
  bool tool_calls = false;  ///< DeepSeek's tool tokens and its end of sentence are marks
  Start start = Start::kAnswer;

  bool operator==(const AnswerFormat&) const = default;
};

/// The format by name: "plain" (no marks at all), "deepseek-v3", "deepseek-v3-0324" (tool calls),
/// "deepseek-r1" (starts in reasoning), "deepseek-r1-0528" (begins with <think> by itself),
/// "deepseek-v3.1" (the same, where the prompt decides). Throws Error naming all of them for
/// another name.
AnswerFormat answer_format(std::string_view name);
/// Names that answer_format knows.
std::vector<std::string> answer_format_names();

/// The format of answers to `rendered_prompt`, which a template of this source has made: marks that
/// the template writes are marks, and how the prompt ends says where the answer begins.
AnswerFormat detect_answer_format(std::string_view template_source,
                                  std::string_view rendered_prompt);

/// One piece of an answer.
struct AnswerEvent {
  enum class Kind : uint8_t {
    kReasoning,      ///< more text of the reasoning
    kContent,        ///< more text of the answer proper
    kCallBegin,      ///< a tool call begins; text is the function's name
    kCallArguments,  ///< more of its arguments, which are a JSON object
    kCallEnd,        ///< it is complete, its arguments are valid JSON
    kCallCancelled,  ///< it is malformed: forget it. Its source follows as content or reasoning
    kMark,           ///< nothing but marks, and white space that belongs to them; text is ""
  };
  Kind kind = Kind::kContent;
  std::string text;
  int64_t call = -1;  ///< the call's number, counted from 0; cancelled ones count
  /// The part of the answer that this event accounts for. Joined they are the answer, whole.
  std::string source;

  bool operator==(const AnswerEvent&) const = default;
};

/// Takes an answer apart while it comes: reasoning, content and tool calls. The pieces may be cut
/// anywhere, also inside characters; where they are cut changes nothing but how the texts of events
/// are cut. Never throws for what is in the text: what is malformed is text.
///
/// Tool calls are read in both of DeepSeek's forms, whichever comes, also inside reasoning:
///   V3, R1:
///   <｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n{...}\n```<｜tool▁call▁end｜> V3.1:
///   <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜>
/// all between <｜tool▁calls▁begin｜> and <｜tool▁calls▁end｜>. Arguments given as a JSON string
/// that holds an object (as V3.1's template writes them) are that object. Newlines are dropped
/// after <think>, one before </think>, and those at the begin of the content after </think>.
class AnswerReader {
 public:
  /// Without `stream_arguments`, a call's events come together when it is complete, and no call is
  /// ever cancelled.
  explicit AnswerReader(AnswerFormat format, bool stream_arguments = true);
  ~AnswerReader();
  AnswerReader(AnswerReader&&) noexcept;
  AnswerReader& operator=(AnswerReader&&) noexcept;

  /// Special tokens are given as their text; see AnswerDecoder.
  std::vector<AnswerEvent> push(std::string_view piece);
  /// What was held back, at the end of the answer. A call whose arguments are complete is complete.
  std::vector<AnswerEvent> flush();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The whole of an answer.
struct Answer {
  struct ToolCall {
    std::string name;
    std::string arguments;  ///< a JSON object, as the model wrote it
    bool complete = false;
    bool operator==(const ToolCall&) const = default;
  };
  std::string reasoning, content;
  std::vector<ToolCall> tool_calls;

  /// Adds an event of a reader, in order.
  void add(const AnswerEvent& event);

 private:
  std::vector<int64_t> numbers_;  // of tool_calls
};

/// All of a text at once.
Answer read_answer(const AnswerFormat& format, std::string_view text);

/// Text of tokens for a reader: as StreamDecoder, without special tokens, but for those that are
/// marks of answers.
class AnswerDecoder {
 public:
  explicit AnswerDecoder(Tokenizer tokenizer);
  std::string push(int64_t id);
  std::string flush() { return decoder_.flush(); }

 private:
  Tokenizer tokenizer_;
  StreamDecoder decoder_;
};

}  // namespace dsv3
