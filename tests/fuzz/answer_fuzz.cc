// libFuzzer target: any bytes as an answer, cut anywhere, are taken apart without a crash; nothing
// is lost, and where the pieces are cut changes nothing.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "dsv3/answer.h"

namespace {

struct Reading {
  dsv3::Answer answer;
  std::string sources;

  void add(const std::vector<dsv3::AnswerEvent>& events) {
    for (const dsv3::AnswerEvent& event : events) {
      answer.add(event);
      sources += event.source;
    }
  }
};

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  // The first byte chooses a format, the second the length of pieces.
  dsv3::AnswerFormat format;
  format.thinking = (data[0] & 1) != 0;
  format.tool_calls = (data[0] & 2) != 0;
  format.start = static_cast<dsv3::AnswerFormat::Start>((data[0] >> 2) & 3);
  const bool stream = (data[0] & 16) != 0;
  const size_t piece = data[1] % 32 + size_t{1};
  const std::string_view text(reinterpret_cast<const char*>(data + 2), size - 2);

  Reading whole, cut;
  dsv3::AnswerReader at_once(format), in_pieces(format, stream);
  whole.add(at_once.push(text));
  whole.add(at_once.flush());
  for (size_t at = 0; at < text.size(); at += piece)
    cut.add(in_pieces.push(text.substr(at, piece)));
  cut.add(in_pieces.flush());

  require(whole.sources == text && cut.sources == text);
  require(whole.answer.reasoning == cut.answer.reasoning);
  require(whole.answer.content == cut.answer.content);
  require(whole.answer.tool_calls == cut.answer.tool_calls);
  for (const dsv3::Answer::ToolCall& call : whole.answer.tool_calls) require(call.complete);
  return 0;
}
