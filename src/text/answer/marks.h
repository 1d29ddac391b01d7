#pragma once

#include <string_view>

// Marks in answers of DeepSeek's models. U+FF5C is the bar and U+2581 the space of these names.
namespace dsv3::answer {

inline constexpr std::string_view kThinkBegin = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";
inline constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
inline constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
inline constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
inline constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
inline constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
inline constexpr std::string_view kEndOfSentence = "<｜end▁of▁sentence｜>";

/// All that AnswerReader may take for a mark.
inline constexpr std::string_view kMarks[] = {kThinkBegin, kThinkEnd, kCallsBegin, kCallsEnd,
                                              kCallBegin,  kCallEnd,  kSeparator,  kEndOfSentence};

}  // namespace dsv3::answer
