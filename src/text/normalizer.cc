#include "text/normalizer.h"

#include <algorithm>

#include "text/json_fields.h"
#include "text/normalization.h"
#include "text/splitter.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

/// A step that treats the front like any other text.
template <typename F>
std::string apply_with_front(std::string_view text, size_t& front, F&& f) {
  if (front > 0) front = f(text.substr(0, front)).size();
  return f(text);
}

class FormStep : public NormalizerStep {
 public:
  explicit FormStep(NormalForm form) : form_(form) {}
  std::string apply(std::string_view text, size_t& front) const override {
    std::string normalized = normalize(text, form_);
    if (front == 0) return normalized;
    const std::string alone = normalize(text.substr(0, front), form_);
    front = alone.size();
    if (form_ == NormalForm::kNfd || form_ == NormalForm::kNfkd) {
      // Marks of later characters may be sorted to before those of the front. The tokenizers
      // package takes characters in the order in which they come out for those that went in: the
      // first is the front's, and so are those that it was decomposed to if they follow at once.
      const auto end =
          std::mismatch(alone.begin(), alone.end(), normalized.begin(), normalized.end()).first;
      front = end - alone.begin();
      while (front < alone.size() && (alone[front] & 0xC0) == 0x80) --front;  // whole characters
      if (front == 0 && !normalized.empty()) {
        front = utf8_length(static_cast<uint8_t>(normalized[0]));
      }
    }
    return normalized;
  }

 private:
  NormalForm form_;
};

class LowercaseStep : public NormalizerStep {
 public:
  std::string apply(std::string_view text, size_t& front) const override {
    return apply_with_front(text, front, to_lower_case);
  }
};

class StripAccentsStep : public NormalizerStep {
 public:
  std::string apply(std::string_view text, size_t& front) const override {
    return apply_with_front(text, front, without_accents);
  }
};

class StripStep : public NormalizerStep {
 public:
  StripStep(bool left, bool right) : left_(left), right_(right) {}
  std::string apply(std::string_view text, size_t& front) const override {
    const auto is_space = [](const char* p) {
      return (category_bit(utf8_decode(p)) & kWhiteSpace) != 0;
    };
    while (left_ && !text.empty() && is_space(text.data())) {
      const size_t length = utf8_length(static_cast<uint8_t>(text[0]));
      text.remove_prefix(length);
      front -= std::min(front, length);
    }
    while (right_ && !text.empty()) {
      const char* const last = utf8_previous(text.data() + text.size());
      if (!is_space(last)) break;
      text = text.substr(0, last - text.data());
    }
    return std::string(text);
  }

 private:
  bool left_, right_;
};

class PrependStep : public NormalizerStep {
 public:
  explicit PrependStep(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string apply(std::string_view text, size_t& front) const override {
    if (text.empty()) return {};
    if (front > 0) front += prefix_.size();
    return prefix_ + std::string(text);
  }

 private:
  std::string prefix_;
};

class ReplaceStep : public NormalizerStep {
 public:
  ReplaceStep(std::unique_ptr<Finder> finder, std::string content)
      : finder_(std::move(finder)), content_(std::move(content)) {}
  std::string apply(std::string_view text, size_t& front) const override {
    return replace_all(text, *finder_, content_, &front);
  }

 private:
  std::unique_ptr<Finder> finder_;
  std::string content_;
};

}  // namespace

Normalizer Normalizer::from_json(const Json& json) {
  Normalizer normalizer;
  if (!json.is_null()) normalizer.add(json, "normalizer");
  return normalizer;
}

void Normalizer::add(const Json& json, const std::string& field) {
  const std::string type = string_field(json, "type", field);
  const std::string where = fmt::format("{} ({})", field, type);
  const auto form = [&](NormalForm which) { steps_.push_back(std::make_unique<FormStep>(which)); };
  if (type == "Sequence") {
    const Json& children = array_field(json, "normalizers", field);
    for (size_t i = 0; i < children.size(); ++i) {
      add(children[i], fmt::format("{}.normalizers[{}]", field, i));
    }
  } else if (type == "NFC") {
    form(NormalForm::kNfc);
  } else if (type == "NFD") {
    form(NormalForm::kNfd);
  } else if (type == "NFKC") {
    form(NormalForm::kNfkc);
  } else if (type == "NFKD") {
    form(NormalForm::kNfkd);
  } else if (type == "Lowercase") {
    steps_.push_back(std::make_unique<LowercaseStep>());
  } else if (type == "StripAccents") {
    steps_.push_back(std::make_unique<StripAccentsStep>());
  } else if (type == "Strip") {
    steps_.push_back(std::make_unique<StripStep>(bool_field(json, "strip_left", true, where),
                                                 bool_field(json, "strip_right", true, where)));
  } else if (type == "Prepend") {
    steps_.push_back(std::make_unique<PrependStep>(string_field(json, "prepend", where)));
  } else if (type == "Replace") {
    steps_.push_back(std::make_unique<ReplaceStep>(pattern_finder(json, where),
                                                   string_field(json, "content", where)));
  } else {
    fail("{}: normalizer '{}' is not supported", field, type);
  }
}

std::string Normalizer::apply(std::string_view text, size_t& front) const {
  std::string normalized(text);
  for (const auto& step : steps_) normalized = step->apply(normalized, front);
  return normalized;
}

}  // namespace dsv3
