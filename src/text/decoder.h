#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace dsv3 {

class Finder;

/// What makes one text of the texts of tokens: steps on each token, then a step that joins them,
/// then perhaps steps on the joined text.
class Decoder {
 public:
  /// Reads the field `decoder` of a tokenizer.json: ByteLevel, ByteFallback, Fuse, Metaspace,
  /// Replace, Strip or a Sequence of them; null: a space between tokens. Throws Error naming the
  /// field and the kind for others.
  static Decoder from_json(const Json& json);
  static Decoder byte_level();

  /// Whether the text is that of the tokens' bytes, and nothing else plays a role.
  bool is_byte_level() const { return join_ == kByteLevel && steps_.empty() && !rest_; }

  /// The bytes a token stands for when it is not the first.
  std::string token_bytes(std::string_view token) const;

  /// One text being decoded, token by token; text comes out as soon as it is certain.
  class Run {
   public:
    /// `decoder` must live as long.
    explicit Run(const Decoder& decoder);
    ~Run();
    Run(Run&&) noexcept;
    Run& operator=(Run&&) noexcept;

    /// Appends to `out` the text that is certain with this token.
    void token(std::string_view text, std::string& out) { feed(0, text, out); }
    /// The same for the bytes of a token (`is_byte_level`).
    void bytes(std::string_view bytes, std::string& out);
    /// Appends what is held back; then a new text begins.
    void finish(std::string& out);

   private:
    struct StepState {
      size_t tokens = 0;   // Metaspace: how many were there
      std::string bytes;   // ByteFallback: a row of byte tokens that may be text together
    };
    void feed(size_t step, std::string_view token, std::string& out);
    void release(size_t step, std::string& out);
    void joined(std::string_view text, std::string& out);

    const Decoder* decoder_;
    std::vector<StepState> states_;
    size_t tokens_ = 0;        // that reached the join
    size_t stripped_ = 0;      // characters of the joined text that Strip may still drop
    std::string held_;         // ByteLevel: a cut character; with `rest_` all of the text
    std::unique_ptr<Run> rest_;
  };

 private:
  enum Join { kConcatenate, kSpaces, kFuse, kByteLevel };
  struct Step {
    enum Kind { kReplace, kStrip, kMetaspace, kByteFallback } kind;
    std::string content;  // Replace: what is put in; Strip and Metaspace: the character
    std::shared_ptr<const Finder> finder;
    size_t start = 0, stop = 0;    // Strip
    bool drop_first = false;       // Metaspace
    std::string apply(std::string_view token, bool first) const;
  };

  Decoder& last();
  void add(const Json& json, const std::string& field);

  std::vector<Step> steps_;
  Join join_ = kConcatenate;
  bool strips_front_ = false;        // the rest is a Strip of the front alone: nothing is held back
  std::shared_ptr<Decoder> rest_;    // what follows the join; its one token is the joined text
};

}  // namespace dsv3
