#include "text/tokenizer_json.h"

namespace dsv3 {
namespace {

constexpr size_t kMaxDepth = 64;

/// Takes the events of the JSON parser.
class Handler : public nlohmann::json_sax<Json> {
 public:
  Handler(TokenizerJson& out, const std::string& where) : out_(out), where_(where) {}

  bool null() override { return value("null", [this] { put(nullptr); }); }
  bool boolean(bool v) override { return value("a boolean", [&] { put(v); }); }
  bool number_integer(number_integer_t v) override { return integer(v, v); }
  bool number_unsigned(number_unsigned_t v) override {
    return integer(v, v > INT64_MAX ? INT64_MAX : static_cast<int64_t>(v));
  }
  bool number_float(number_float_t v, const string_t&) override {
    return value("a number with a fraction", [&] { put(v); });
  }
  bool binary(binary_t&) override { return false; }

  bool string(string_t& v) override {
    if (mode_ == kMerges) {
      merge_line(v);
    } else if (mode_ == kMergePair) {
      if (++in_pair_ <= 2) out_.merges.push_back(v);
    } else {
      return value("a string", [&] { put(std::move(v)); });
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (mode_ != kTree) wrong("an object");
    if (at_model() && key_ == "vocab") {
      if (out_.has_vocab) fail("{}: model.vocab: stands there twice", where_);
      out_.has_vocab = true;
      mode_ = kVocab;
      return true;
    }
    open(Json::object());
    return true;
  }

  bool key(string_t& v) override {
    key_ = std::move(v);
    return true;
  }

  bool end_object() override {
    if (mode_ == kVocab) mode_ = kTree;
    else close();
    return true;
  }

  bool start_array(std::size_t) override {
    if (mode_ == kMerges) {
      mode_ = kMergePair;
      in_pair_ = 0;
      return true;
    }
    if (mode_ != kTree) wrong("an array");
    if (at_model() && key_ == "merges") {
      if (out_.has_merges) fail("{}: model.merges: stands there twice", where_);
      out_.has_merges = true;
      mode_ = kMerges;
      return true;
    }
    open(Json::array());
    return true;
  }

  bool end_array() override {
    if (mode_ == kMergePair) {
      if (in_pair_ != 2) {
        fail("{}: model.merges[{}] has {} strings, expected two", where_, merge_index_, in_pair_);
      }
      ++merge_index_;
      mode_ = kMerges;
    } else if (mode_ == kMerges) {
      mode_ = kTree;
    } else {
      close();
    }
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const Json::exception& e) override {
    // The library's text begins with a code in brackets and may quote a very long string.
    std::string reason = e.what();
    if (const size_t p = reason.find("] "); p != reason.npos) reason = reason.substr(p + 2);
    if (reason.size() > 300) reason = reason.substr(0, 150) + " ... " + reason.substr(reason.size() - 100);
    fail("{}: not valid JSON: {}", where_, reason);
  }

 private:
  enum Mode { kTree, kVocab, kMerges, kMergePair };

  bool at_model() const { return stack_.size() == 2 && in_model_; }

  template <typename F>
  bool value(std::string_view what, F&& f) {
    if (mode_ != kTree) wrong(what);
    f();
    return true;
  }

  template <typename Number>
  bool integer(Number as_it_is, int64_t id) {
    if (mode_ != kVocab) return value("a number", [&] { put(as_it_is); });
    out_.vocab_tokens.push_back(key_);
    out_.vocab_ids.push_back(id);
    return true;
  }

  [[noreturn]] void wrong(std::string_view what) const {
    if (mode_ == kVocab) {
      fail("{}: model.vocab: the id of token '{}' is {}, expected an integer", where_, key_, what);
    }
    fail("{}: model.merges[{}] has {}, expected \"left right\" or [\"left\", \"right\"]", where_,
         merge_index_, what);
  }

  void merge_line(std::string_view line) {
    const size_t space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos) {
      fail("{}: model.merges[{}] is '{}', expected two tokens with a space between", where_,
           merge_index_, line);
    }
    out_.merges.push_back(line.substr(0, space));
    out_.merges.push_back(line.substr(space + 1));
    ++merge_index_;
  }

  Json& put(Json v) {
    if (stack_.empty()) return out_.json = std::move(v);
    Json& parent = *stack_.back();
    if (parent.is_object()) return parent[key_] = std::move(v);
    parent.push_back(std::move(v));
    return parent.back();
  }

  void open(Json container) {
    if (stack_.size() >= kMaxDepth) fail("{}: nested more than {} deep", where_, kMaxDepth);
    if (stack_.size() == 1) in_model_ = key_ == "model";
    stack_.push_back(&put(std::move(container)));
  }

  void close() { stack_.pop_back(); }

  TokenizerJson& out_;
  const std::string& where_;
  Mode mode_ = kTree;
  std::vector<Json*> stack_;  // the open objects and arrays of the tree
  std::string key_;           // the latest key
  bool in_model_ = false;
  int in_pair_ = 0;
  size_t merge_index_ = 0;
};

}  // namespace

TokenizerJson parse_tokenizer_json(std::string_view text, const std::string& where) {
  TokenizerJson parsed;
  Handler handler(parsed, where);
  Json::sax_parse(text.begin(), text.end(), &handler);
  return parsed;
}

}  // namespace dsv3
