#include "text/post_processor.h"

#include "text/json_fields.h"

namespace dsv3 {
namespace {

/// The ids of a special token of a template.
std::vector<int64_t> template_ids(const Json& json, const std::string& name,
                                  const Vocabulary& vocabulary, const std::string& where) {
  const Json* tokens = find_field(json, "special_tokens", where);
  const Json* token = tokens ? find_field(*tokens, name, where + ".special_tokens") : nullptr;
  if (!token) fail("{}: special_tokens does not name '{}', which the template uses", where, name);
  std::vector<int64_t> ids;
  for (const Json& id : array_field(*token, "ids", where + ".special_tokens")) {
    if (!id.is_number_integer() || !vocabulary.has(id.get<int64_t>())) {
      fail("{}: special_tokens: id {} of '{}' is not in the vocabulary", where, id.dump(), name);
    }
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

PostProcessor read_template(const Json& json, const Vocabulary& vocabulary,
                            const std::string& where) {
  PostProcessor processor;
  bool after_text = false;
  for (const Json& item : array_field(json, "single", where)) {
    if (!item.is_object() || item.size() != 1) fail("{}: single: {} is no item", where, item.dump());
    const std::string kind = item.begin().key();
    const std::string name = string_field(item.begin().value(), "id", where + ".single");
    if (kind == "SpecialToken") {
      const auto ids = template_ids(json, name, vocabulary, where);
      auto& side = after_text ? processor.after : processor.before;
      side.insert(side.end(), ids.begin(), ids.end());
    } else if (kind == "Sequence" && name == "A" && !after_text) {
      after_text = true;
    } else {
      fail("{}: single: {} '{}' is not supported here", where, kind, name);
    }
  }
  if (!after_text) fail("{}: single has no Sequence 'A'", where);
  return processor;
}

}  // namespace

PostProcessor PostProcessor::from_json(const Json& json, const Vocabulary& vocabulary) {
  const std::string where = "post_processor";
  if (json.is_null()) return {};
  const std::string type = string_field(json, "type", where);
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return read_template(json, vocabulary, where);
  if (type != "Sequence") fail("{}: post-processor '{}' is not supported", where, type);
  PostProcessor all;
  for (const Json& child : array_field(json, "processors", where)) {
    PostProcessor one = from_json(child, vocabulary);
    if (one.before.empty() && one.after.empty()) continue;
    // Hugging Face's second template would take the tokens of the first for a text of their own.
    if (!all.before.empty() || !all.after.empty()) {
      fail("{}: a TemplateProcessing after another is not supported", where);
    }
    all = std::move(one);
  }
  return all;
}

}  // namespace dsv3
