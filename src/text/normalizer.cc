#include "text/normalizer.h"

#include "text/json_fields.h"
#include "text/normalization.h"
#include "text/splitter.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

class FormStep : public NormalizerStep {
 public:
  explicit FormStep(NormalForm form) : form_(form) {}
  std::string apply(std::string_view text, bool&) const override {
    return normalize(text, form_);
  }

 private:
  NormalForm form_;
};

class LowercaseStep : public NormalizerStep {
 public:
  std::string apply(std::string_view text, bool&) const override {
    return to_lower_case(text);
  }
};

class StripAccentsStep : public NormalizerStep {
 public:
  std::string apply(std::string_view text, bool& at_start) const override {
    std::string kept = without_accents(text);
    if (!text.empty() && without_accents(text.substr(0, utf8_length(static_cast<uint8_t>(text[0])))).empty()) {
      at_start = false;
    }
    return kept;
  }
};

class StripStep : public NormalizerStep {
 public:
  StripStep(bool left, bool right) : left_(left), right_(right) {}
  std::string apply(std::string_view text, bool& at_start) const override {
    const auto is_space = [](const char* p) {
      return (category_bit(utf8_decode(p)) & kWhiteSpace) != 0;
    };
    while (left_ && !text.empty() && is_space(text.data())) {
      text.remove_prefix(utf8_length(static_cast<uint8_t>(text[0])));
      at_start = false;
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
  std::string apply(std::string_view text, bool&) const override {
    return text.empty() ? std::string() : prefix_ + std::string(text);
  }

 private:
  std::string prefix_;
};

class ReplaceStep : public NormalizerStep {
 public:
  ReplaceStep(std::unique_ptr<Finder> finder, std::string content)
      : finder_(std::move(finder)), content_(std::move(content)) {}
  std::string apply(std::string_view text, bool& at_start) const override {
    Regex::Match match;
    if (content_.empty() && finder_->find(text, 0, match) && match.begin == 0) at_start = false;
    return replace_all(text, *finder_, content_);
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

std::string Normalizer::apply(std::string_view text, bool& at_start) const {
  std::string normalized(text);
  for (const auto& step : steps_) normalized = step->apply(normalized, at_start);
  return normalized;
}

}  // namespace dsv3
