#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "dsv3/answer.h"
#include "text/answer/arguments.h"
#include "text/answer/call_header.h"
#include "text/answer/marks.h"

namespace dsv3 {

using Kind = AnswerEvent::Kind;
using namespace answer;

/// A machine that looks at what has come but is not decided yet (`buffer_`), takes what it can from
/// its front and makes events of it. A decision is never taken while more text could change it.
struct AnswerReader::Impl {
  Impl(AnswerFormat format, bool stream_arguments)
      : format_(format), stream_arguments_(stream_arguments) {
    using Start = AnswerFormat::Start;
    switch (format.start) {
      case Start::kAnswer:
        section_ = format.thinking ? Section::kStart : Section::kContent;
        break;
      case Start::kReasoning:
        strip_newlines_ = true;
        [[fallthrough]];
      case Start::kInReasoning:
        section_ = Section::kReasoning;
        break;
      case Start::kInContent:
        section_ = Section::kContent;
        break;
    }
  }

  std::vector<AnswerEvent> push(std::string_view piece, bool at_end) {
    at_end_ = at_end;
    buffer_ += piece;
    while (step()) {
    }
    return std::exchange(events_, {});
  }

 private:
  /// What text outside of calls belongs to.
  enum class Section { kStart, kReasoning, kContent };
  enum class State {
    kText,       // outside of calls
    kBlock,      // after <｜tool▁calls▁begin｜> or a call
    kHeader,     // after <｜tool▁call▁begin｜>
    kArguments,  // after a header
    kAfter,      // after arguments
  };

  /// Takes something from the buffer or changes the state; false if more text is needed.
  bool step() {
    switch (state_) {
      case State::kText:
        return section_ == Section::kStart ? step_start() : step_text();
      case State::kBlock:
        return step_block();
      case State::kHeader:
        return step_header();
      case State::kArguments:
        return step_arguments();
      case State::kAfter:
        return step_after();
    }
    return false;
  }

  // ---- events

  void emit(Kind kind, std::string_view text, std::string_view source, int64_t call = -1) {
    std::vector<AnswerEvent>& to = in_call_ && !stream_arguments_ ? held_events_ : events_;
    const bool grows = kind == Kind::kReasoning || kind == Kind::kContent ||
                       kind == Kind::kCallArguments || kind == Kind::kMark;
    if (grows && !to.empty() && to.back().kind == kind && to.back().call == call) {
      to.back().text += text;
      to.back().source += source;
      return;
    }
    to.push_back({kind, std::string(text), call, std::string(source)});
  }
  void emit_text(std::string_view text, std::string_view source) {
    emit(section_ == Section::kReasoning ? Kind::kReasoning : Kind::kContent, text, source);
    strip_newlines_ = false;
  }
  void emit_mark(std::string_view source) { emit(Kind::kMark, "", source); }
  /// The first `size` bytes of the buffer.
  std::string take(size_t size) {
    std::string front = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return front;
  }

  // ---- outside of calls

  bool step_start() {
    const std::string_view rest = skip_spaces(buffer_);
    if (!at_end_ && (rest.empty() || is_part_of(rest, kThinkBegin))) return false;
    strip_newlines_ = true;
    if (rest.starts_with(kThinkBegin)) {
      emit_mark(take(buffer_.size() - rest.size() + kThinkBegin.size()));
      section_ = Section::kReasoning;
    } else {
      section_ = Section::kContent;
    }
    return true;
  }

  bool step_text() {
    if (strip_newlines_) {
      const size_t newlines = std::min(buffer_.find_first_not_of("\r\n"), buffer_.size());
      if (newlines > 0) emit_mark(take(newlines));
    }
    if (buffer_.empty()) return false;
    const auto [at, mark] = find_mark();
    size_t end = at;
    // A line break before </think> belongs to the mark.
    const bool newline = section_ == Section::kReasoning && end > 0 && buffer_[end - 1] == '\n';
    if (newline && (mark == kThinkEnd || (mark.empty() && !at_end_))) --end;
    if (end > 0) {
      const std::string text = take(end);
      emit_text(text, text);
    }
    if (mark.empty()) return false;
    take_mark(mark, at - end);
    return true;
  }

  /// The first mark of this section and its place; else "" and the place from which on there may be
  /// one that has not come in full.
  std::pair<size_t, std::string_view> find_mark() const {
    const std::string_view text = buffer_;
    for (size_t at = text.find('<'); at != text.npos; at = text.find('<', at + 1)) {
      const std::string_view rest = text.substr(at);
      bool incomplete = false;
      for (const std::string_view mark :
           {kThinkBegin, kThinkEnd, kCallsBegin, kCallBegin, kEndOfSentence}) {
        if (!is_mark_here(mark, at)) continue;
        if (rest.starts_with(mark)) return {at, mark};
        incomplete |= is_part_of(rest, mark);
      }
      if (incomplete && !at_end_) return {at, {}};
    }
    return {text.size(), {}};
  }

  bool is_mark_here(std::string_view mark, size_t at) const {
    // R1 may write <think> though its prompt has one; later on it is text.
    if (mark == kThinkBegin) {
      return section_ == Section::kReasoning && strip_newlines_ && at == 0;
    }
    if (mark == kThinkEnd) return section_ == Section::kReasoning;
    return format_.tool_calls;
  }

  /// `before`: bytes in front of the mark that go with it.
  void take_mark(std::string_view mark, size_t before) {
    std::string source = take(before + mark.size());
    if (mark == kCallsBegin || mark == kCallBegin) {
      call_source_ = std::move(source);
      state_ = mark == kCallsBegin ? State::kBlock : State::kHeader;
      return;
    }
    emit_mark(source);
    if (mark == kThinkEnd) {
      section_ = Section::kContent;
      strip_newlines_ = true;
    }
  }

  // ---- calls

  bool step_block() {
    const std::string_view rest = skip_spaces(buffer_);
    const size_t spaces = buffer_.size() - rest.size();
    if (!at_end_ && (rest.empty() || is_part_of(rest, kCallBegin) || is_part_of(rest, kCallsEnd) ||
                     is_part_of(rest, kEndOfSentence))) {
      return false;
    }
    if (rest.starts_with(kCallBegin)) {
      call_source_ += take(spaces + kCallBegin.size());
      state_ = State::kHeader;
    } else if (rest.starts_with(kCallsEnd)) {
      emit_mark(call_source_ + take(spaces + kCallsEnd.size()));
      call_source_.clear();
      state_ = State::kText;
    } else {
      // Something else, or the end. After a call, that ends the block; white space before the end
      // is the block's.
      const bool after_call = call_source_.empty();
      give_back();
      if (after_call && (rest.empty() || rest.starts_with(kEndOfSentence)) && spaces > 0) {
        emit_mark(take(spaces));
      }
    }
    return true;
  }

  bool step_header() {
    const CallHeader header = read_call_header(buffer_);
    if (header.status == CallHeader::Status::kIncomplete && !at_end_) return false;
    if (header.status != CallHeader::Status::kGood) {
      give_back();
      return true;
    }
    call_source_ += take(header.size);
    in_call_ = true;
    emit(Kind::kCallBegin, header.name, call_source_, number_);
    fence_open_ = header.fenced;
    arguments_.clear();
    scanner_ = {};
    state_ = State::kArguments;
    return true;
  }

  bool step_arguments() {
    size_t taken = 0;
    const ArgumentsScanner::Status status = scanner_.scan(buffer_, taken);
    const std::string text = take(taken);
    arguments_ += text;
    call_source_ += text;
    // What is in a string has to be decoded, and that as a whole.
    if (!scanner_.is_string() && !text.empty()) {
      emit(Kind::kCallArguments, text, text, number_);
    }
    if (status == ArgumentsScanner::Status::kOpen && !at_end_) return false;
    std::optional<std::string> object;
    if (status == ArgumentsScanner::Status::kComplete) object = arguments_object(arguments_);
    if (!object) {
      cancel_call(scanner_.is_string() ? arguments_ : "");
      return true;
    }
    if (scanner_.is_string()) emit(Kind::kCallArguments, *object, arguments_, number_);
    state_ = State::kAfter;
    return true;
  }

  bool step_after() {
    constexpr std::string_view kFence = "```";
    std::string_view rest = skip_spaces(buffer_);
    if (fence_open_) {
      if (!at_end_ && is_part_of(rest, kFence)) return false;
      if (rest.starts_with(kFence)) rest = skip_spaces(rest.substr(kFence.size()));
    }
    if (!at_end_ && (rest.empty() || is_part_of(rest, kCallEnd))) return false;
    size_t size = buffer_.size() - rest.size();
    if (rest.starts_with(kCallEnd)) size += kCallEnd.size();
    emit(Kind::kCallEnd, "", take(size), number_++);
    in_call_ = false;
    events_.insert(events_.end(), held_events_.begin(), held_events_.end());
    held_events_.clear();
    call_source_.clear();
    state_ = State::kBlock;
    return true;
  }

  /// What was taken for a call's beginning is text; what follows is looked at afresh.
  void give_back() {
    if (!call_source_.empty()) emit_text(call_source_, call_source_);
    call_source_.clear();
    state_ = State::kText;
  }

  /// The same after kCallBegin. `unaccounted`: source that no event has told of.
  void cancel_call(std::string_view unaccounted) {
    in_call_ = false;
    held_events_.clear();
    if (!stream_arguments_) {
      give_back();
      return;
    }
    emit(Kind::kCallCancelled, "", "", number_++);
    emit_text(call_source_, unaccounted);
    call_source_.clear();
    state_ = State::kText;
  }

  AnswerFormat format_;
  bool stream_arguments_;
  bool at_end_ = false;
  std::string buffer_;
  std::vector<AnswerEvent> events_;

  Section section_ = Section::kContent;
  State state_ = State::kText;
  bool strip_newlines_ = false;  // nothing but newlines has come in this section

  // The call under way: its text from the block's beginning on, or from the call before.
  std::string call_source_;
  std::string arguments_;
  ArgumentsScanner scanner_;
  bool in_call_ = false;  // between kCallBegin and its end
  bool fence_open_ = false;
  int64_t number_ = 0;
  std::vector<AnswerEvent> held_events_;  // of a call that is not to be streamed
};

AnswerReader::AnswerReader(AnswerFormat format, bool stream_arguments)
    : impl_(std::make_unique<Impl>(format, stream_arguments)) {}
AnswerReader::~AnswerReader() = default;
AnswerReader::AnswerReader(AnswerReader&&) noexcept = default;
AnswerReader& AnswerReader::operator=(AnswerReader&&) noexcept = default;

std::vector<AnswerEvent> AnswerReader::push(std::string_view piece) {
  return impl_->push(piece, /*at_end=*/false);
}
std::vector<AnswerEvent> AnswerReader::flush() { return impl_->push({}, /*at_end=*/true); }

}  // namespace dsv3
