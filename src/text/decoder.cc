#include "text/decoder.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/splitter.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

std::string character_field(const Json& json, std::string_view name, const std::string& where) {
  const std::string text = string_field(json, name, where);
  if (text.empty() || utf8_length(static_cast<uint8_t>(text[0])) != text.size()) {
    fail("{}: {}: is '{}', expected one character", where, name, text);
  }
  return text;
}

size_t count_field(const Json& json, std::string_view name, const std::string& where) {
  const int64_t count = integer_field(json, name, where);
  if (count < 0) fail("{}: {}: is {}, expected at least 0", where, name, count);
  return static_cast<size_t>(count);
}

/// The byte of a token such as "<0x0A>", or -1.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  const int high = token[3] == '+' ? 0 : digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/// Appends the valid text in front of `bytes`, with U+FFFD for what cannot become valid, and drops
/// it there; what may still become a character is left.
void take_certain(std::string& bytes, std::string& out) {
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const Utf8Step step = utf8_step(rest);
    if (step.kind == Utf8Step::kIncomplete) break;
    rest.remove_prefix(step.length);
  }
  out += utf8_lossy(std::string_view(bytes).substr(0, bytes.size() - rest.size()));
  bytes.erase(0, bytes.size() - rest.size());
}

std::string bytes_of(std::string_view token) {
  return byte_level_bytes(token).value_or(std::string(token));
}

}  // namespace

Decoder Decoder::from_json(const Json& json) {
  Decoder decoder;
  if (json.is_null()) decoder.join_ = kSpaces;
  else decoder.add(json, "decoder");
  for (Decoder* d = &decoder; d; d = d->rest_.get()) {
    const Decoder* rest = d->rest_.get();
    d->strips_front_ = rest && !rest->rest_ && rest->steps_.size() == 1 &&
                       rest->steps_[0].kind == Step::kStrip && rest->steps_[0].stop == 0;
  }
  return decoder;
}

Decoder Decoder::byte_level() {
  Decoder decoder;
  decoder.join_ = kByteLevel;
  return decoder;
}

/// The part that steps are to be added to: one whose tokens are not joined yet.
Decoder& Decoder::last() {
  Decoder* decoder = this;
  while (decoder->rest_) decoder = decoder->rest_.get();
  if (decoder->join_ == kConcatenate) return *decoder;
  decoder->rest_ = std::make_shared<Decoder>();
  return *decoder->rest_;
}

void Decoder::add(const Json& json, const std::string& field) {
  const std::string type = string_field(json, "type", field);
  const std::string where = fmt::format("{} ({})", field, type);
  if (type == "Sequence") {
    const Json& children = array_field(json, "decoders", field);
    for (size_t i = 0; i < children.size(); ++i) {
      add(children[i], fmt::format("{}.decoders[{}]", field, i));
    }
  } else if (type == "ByteLevel") {
    last().join_ = kByteLevel;
  } else if (type == "Fuse") {
    // What is one text already stays so.
    Decoder* decoder = this;
    while (decoder->rest_) decoder = decoder->rest_.get();
    if (decoder->join_ == kConcatenate) decoder->join_ = kFuse;
  } else if (type == "ByteFallback") {
    last().steps_.push_back({.kind = Step::kByteFallback, .content = {}, .finder = {}});
  } else if (type == "Metaspace") {
    const Json* scheme = find_field(json, "prepend_scheme", where);
    const bool never = (scheme && *scheme == "never") ||
                       !bool_field(json, "add_prefix_space", true, where);
    last().steps_.push_back({.kind = Step::kMetaspace,
                             .content = character_field(json, "replacement", where),
                             .finder = {},
                             .drop_first = !never});
  } else if (type == "Replace") {
    last().steps_.push_back({.kind = Step::kReplace,
                             .content = string_field(json, "content", where),
                             .finder = pattern_finder(json, where)});
  } else if (type == "Strip") {
    last().steps_.push_back({.kind = Step::kStrip,
                             .content = character_field(json, "content", where),
                             .finder = {},
                             .start = count_field(json, "start", where),
                             .stop = count_field(json, "stop", where)});
  } else {
    fail("{}: decoder '{}' is not supported", field, type);
  }
}

std::string Decoder::Step::apply(std::string_view token, bool first) const {
  if (kind == kReplace) return replace_all(token, *finder, content);
  if (kind == kStrip) {
    for (size_t i = 0; i < start && token.starts_with(content); ++i) {
      token.remove_prefix(content.size());
    }
    for (size_t i = 0; i < stop && token.ends_with(content); ++i) {
      token.remove_suffix(content.size());
    }
    return std::string(token);
  }
  if (kind != kMetaspace) return std::string(token);
  std::string text;
  for (size_t i = 0; i < token.size();) {
    if (token.substr(i).starts_with(content)) {
      if (!(first && drop_first)) text += ' ';
      i += content.size();
    } else {
      text += token[i++];
    }
  }
  return text;
}

std::string Decoder::token_bytes(std::string_view token) const {
  std::string text(token);
  for (const Step& step : steps_) {
    if (step.kind == Step::kByteFallback) {
      if (const int byte = byte_of(text); byte >= 0) return std::string(1, static_cast<char>(byte));
    } else {
      text = step.apply(text, false);
    }
  }
  return join_ == kByteLevel ? bytes_of(text) : text;
}

Decoder::Run::Run(const Decoder& decoder)
    : decoder_(&decoder), states_(decoder.steps_.size()) {
  if (decoder.strips_front_) stripped_ = decoder.rest_->steps_[0].start;
  else if (decoder.rest_) rest_ = std::make_unique<Run>(*decoder.rest_);
}
Decoder::Run::~Run() = default;
Decoder::Run::Run(Run&&) noexcept = default;
Decoder::Run& Decoder::Run::operator=(Run&&) noexcept = default;

void Decoder::Run::feed(size_t index, std::string_view token, std::string& out) {
  if (index == states_.size()) {
    if (decoder_->join_ == kByteLevel) return bytes(bytes_of(token), out);
    if (decoder_->join_ == kSpaces && tokens_ > 0) joined(" ", out);
    ++tokens_;
    return joined(token, out);
  }
  const Step& step = decoder_->steps_[index];
  StepState& state = states_[index];
  if (step.kind != Step::kByteFallback) {
    return feed(index + 1, step.apply(token, state.tokens++ == 0), out);
  }
  if (const int byte = byte_of(token); byte >= 0) {
    state.bytes += static_cast<char>(byte);
    return;
  }
  release(index, out);
  feed(index + 1, token, out);
}

/// A row of byte tokens is text if all of it is valid, else each byte is U+FFFD.
void Decoder::Run::release(size_t index, std::string& out) {
  std::string bytes;
  bytes.swap(states_[index].bytes);
  if (bytes.empty()) return;
  if (is_valid_utf8(bytes)) return feed(index + 1, bytes, out);
  for (size_t i = 0; i < bytes.size(); ++i) feed(index + 1, kReplacementCharacter, out);
}

void Decoder::Run::bytes(std::string_view bytes, std::string& out) {
  if (decoder_->rest_) {
    held_ += bytes;
    // A front to strip needs no more than whole characters.
    if (!decoder_->strips_front_) return;
    std::string text;
    take_certain(held_, text);
    return joined(text, out);
  }
  held_ += bytes;
  take_certain(held_, out);
}

void Decoder::Run::joined(std::string_view text, std::string& out) {
  if (rest_) {
    held_ += text;
    return;
  }
  for (; stripped_ > 0 && !text.empty(); --stripped_) {
    const std::string& character = decoder_->rest_->steps_[0].content;
    if (!text.starts_with(character)) {
      stripped_ = 0;
      break;
    }
    text.remove_prefix(character.size());
  }
  out += text;
}

void Decoder::Run::finish(std::string& out) {
  for (size_t i = 0; i < states_.size(); ++i) release(i, out);
  std::string text;
  text.swap(held_);
  if (decoder_->join_ == kByteLevel) text = utf8_lossy(text);
  if (rest_) {
    rest_->token(text, out);
    rest_->finish(out);
  } else {
    joined(text, out);
  }
  *this = Run(*decoder_);
}

}  // namespace dsv3
