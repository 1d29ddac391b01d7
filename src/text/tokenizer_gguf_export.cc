// Making the keys of a GGUF file out of a model's folder.

#include <algorithm>
#include <functional>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/gguf.h"
#include "text/byte_level.h"
#include "text/chat_template_files.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/json_fields.h"
#include "text/tiktoken.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_json.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;
using namespace gguf_keys;

/// Characters that stand for themselves in a regular expression may be written as escapes: all are.
std::string with_escapes(std::string_view pattern) {
  std::string out;
  for (const char c : pattern) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else
      out += c;
  }
  return out;
}

bool same_patterns(const std::vector<std::string>& found, const GgufPreTokenizer& known) {
  return std::equal(
      found.begin(), found.end(), known.patterns.begin(), known.patterns.end(),
      [](std::string_view a, std::string_view b) { return with_escapes(a) == with_escapes(b); });
}

/// Whether each token is what the merges alone make of its text, so that ignore_merges changes
/// nothing.
bool merges_make_all_tokens(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
                            const std::vector<bool>& is_added) {
  BpeOptions options;
  options.ignore_merges = false;
  const Bpe bpe(vocabulary, merges, options);
  Bpe::Scratch scratch;
  std::vector<int64_t> ids;
  for (int64_t id = 0; id < vocabulary.end_id(); ++id) {
    const auto bytes = byte_level_bytes(vocabulary.text(id));
    if (!vocabulary.has(id) || is_added[id] || !bytes || bytes->empty()) continue;
    ids.clear();
    bpe.encode(*bytes, vocabulary, is_added, /*allow_added=*/true, scratch, ids);
    if (ids.size() != 1) return false;
  }
  return true;
}

/// The name of a tokenizer.json's pre-tokenizer.
std::string_view name_of_pre_tokenizer(const Json& json, bool ignore_merges,
                                       const std::function<bool()>& flag_changes_nothing) {
  const Json* field = find_field(json, "pre_tokenizer", "the file");
  const std::vector<std::string> patterns = patterns_of(field ? *field : Json());
  const GgufPreTokenizer* other = nullptr;
  for (const GgufPreTokenizer& known : gguf_pre_tokenizers()) {
    if (!same_patterns(patterns, known)) continue;
    if (known.ignore_merges == ignore_merges) return known.name;
    if (other == nullptr) other = &known;
  }
  if (other == nullptr) {
    fail(
        "pre_tokenizer: GGUF has no name for these patterns: {}; give the name to use, the nearest "
        "of those that GGUF has",
        fmt::join(patterns, "  then  "));
  }
  if (!flag_changes_nothing()) {
    fail(
        "model.ignore_merges is {}, but GGUF has the pre-tokenizer of this file ('{}') only with "
        "{}",
        ignore_merges, other->name, other->ignore_merges);
  }
  return other->name;
}

/// Puts two tokens of a merge into a line; no letter of a byte-level token is a space.
void add_merge(GgufStrings& lines, std::string_view left, std::string_view right) {
  std::string line(left);
  line += ' ';
  line += right;
  lines.push_back(line);
}

struct Model {
  std::string pre;
  GgufStrings merges;
  bool nfc = false;
};

bool is_nfc(const Json& normalizer) {
  if (normalizer.is_null()) return false;
  const std::string where = "normalizer";
  const std::string type = string_field(normalizer, "type", where);
  if (type == "NFC") return true;
  if (type != "Sequence") fail("{}: {} cannot be said in a GGUF file", where, type);
  const Json& steps = array_field(normalizer, "normalizers", where);
  return std::count_if(steps.begin(), steps.end(), is_nfc) > 0;
}

Model read_tokenizer_json(const fs::path& path, const std::string& pre,
                          const Vocabulary& vocabulary, const std::vector<bool>& is_added) {
  const TokenizerJson parsed = parse_tokenizer_json(read_file(path), path.string());
  return with_context(path.string(), [&] {
    Model result;
    std::vector<Merge> merges(parsed.merges.size() / 2);
    for (size_t i = 0; i < merges.size(); ++i) {
      const std::string_view left = parsed.merges[2 * i], right = parsed.merges[2 * i + 1];
      add_merge(result.merges, left, right);
      const auto id = [&](std::string_view text) {
        return static_cast<int32_t>(vocabulary.find(text).value_or(0));
      };
      merges[i] = {id(left), id(right), id(std::string(left).append(right)),
                   static_cast<int32_t>(i)};
    }
    const Json* normalizer = find_field(parsed.json, "normalizer", "the file");
    result.nfc = is_nfc(normalizer ? *normalizer : Json());
    const Json& model = *find_field(parsed.json, "model", "the file");
    if (bool_field(model, "byte_fallback", false, "model")) {
      fail("model.byte_fallback cannot be said in a GGUF file");
    }
    if (!pre.empty()) {
      result.pre = find_gguf_pre_tokenizer(pre).name;
      return result;
    }
    result.pre =
        name_of_pre_tokenizer(parsed.json, bool_field(model, "ignore_merges", false, "model"),
                              [&] { return merges_make_all_tokens(vocabulary, merges, is_added); });
    return result;
  });
}

/// The merge that gives each token of a tiktoken vocabulary, where the tokens of lower ranks leave
/// two parts of it.
GgufStrings merges_of_ranks(const Vocabulary& vocabulary, const std::vector<bool>& is_added) {
  GgufStrings lines;
  std::vector<size_t> ends;  // of the parts so far
  for (int64_t id = 0; id < vocabulary.end_id(); ++id) {
    const std::string_view text = vocabulary.text(id);
    if (is_added[id] || text.empty()) continue;
    ends.clear();
    for (size_t at = 0; at < text.size(); ends.push_back(at)) {
      at += utf8_length(static_cast<uint8_t>(text[at]));
    }
    while (ends.size() > 2) {
      int64_t best_rank = id;
      size_t best = ends.size();
      for (size_t i = 0; i + 1 < ends.size(); ++i) {
        const size_t begin = i == 0 ? 0 : ends[i - 1];
        const auto rank = vocabulary.find(text.substr(begin, ends[i + 1] - begin));
        if (rank && *rank < best_rank) {
          best_rank = *rank;
          best = i;
        }
      }
      if (best == ends.size()) break;
      ends.erase(ends.begin() + static_cast<std::ptrdiff_t>(best));
    }
    if (ends.size() == 2) add_merge(lines, text.substr(0, ends[0]), text.substr(ends[0]));
  }
  return lines;
}

/// Added tokens that look like "<|this|>" or DeepSeek's are control tokens even where the file says
/// that they are not special: so has llama.cpp's converter, and only those does llama.cpp keep
/// users from writing.
bool looks_special(std::string_view text) {
  return (text.starts_with("<|") && text.ends_with("|>")) ||
         (text.starts_with("<\uFF5C") && text.ends_with("\uFF5C>"));
}

/// One number, or a list of them.
std::vector<int64_t> ids_in(const Json& config, const char* name) {
  const Json* field = config.is_object() ? find_field(config, name, "the file") : nullptr;
  if (!field) return {};
  if (field->is_number_integer()) return {field->get<int64_t>()};
  std::vector<int64_t> ids;
  if (field->is_array()) {
    for (const Json& id : *field) {
      if (id.is_number_integer()) ids.push_back(id.get<int64_t>());
    }
  }
  return ids;
}

Json read_json_if_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) ? read_json_file(path) : Json();
}

void add_chat_template(const fs::path& folder, GgufMetadata& out) {
  GgufStrings names;
  for (const auto& [name, source] : read_chat_template_sources(folder)) {
    if (name == "default") {
      out.set(kGgufChatTemplateKey, source);
    } else {
      out.set(kGgufChatTemplatePrefix + name, source);
      names.push_back(name);
    }
  }
  if (!names.empty()) out.set(kGgufChatTemplateNamesKey, std::move(names));
}

}  // namespace

void TokenizerGguf::add_tokens(const Tokenizer::Impl& impl, int64_t n_tokens, GgufMetadata& out) {
  GgufStrings tokens;
  tokens.reserve(static_cast<size_t>(n_tokens));
  std::vector<int32_t> types;
  for (int64_t id = 0; id < n_tokens; ++id) {
    GgufTokenType type = GgufTokenType::kNormal;
    if (!impl.vocabulary.has(id)) {
      tokens.push_back(fmt::format("[PAD{}]", id));
      type = GgufTokenType::kUnused;
    } else {
      const std::string_view text = impl.text_of(id);
      tokens.push_back(text);
      if (impl.is_added[id]) {
        type = impl.is_special[id] || looks_special(text) ? GgufTokenType::kControl
                                                          : GgufTokenType::kUserDefined;
      }
    }
    types.push_back(static_cast<int32_t>(type));
  }
  out.set(kTokens, std::move(tokens));
  out.set(kTokenTypes, std::move(types));
}

void TokenizerGguf::add_special_ids(const Tokenizer::Impl& impl, const fs::path& folder,
                                    int64_t n_tokens, GgufMetadata& out) {
  const Json config = read_json_if_there(folder / "config.json");
  const Json generation = read_json_if_there(folder / "generation_config.json");
  const auto or_in_config = [&](std::optional<int64_t> id, const char* name) {
    const std::vector<int64_t> ids = ids_in(config, name);
    return id || ids.empty() ? id : std::optional(ids.front());
  };
  std::optional<int64_t> bos = or_in_config(impl.bos, "bos_token_id");
  const std::optional<int64_t> eos = or_in_config(impl.eos, "eos_token_id");
  const PostProcessor& around = impl.post_processor;
  if (!bos && around.before.size() == 1) bos = around.before[0];
  const bool adds_bos = !around.before.empty(), adds_eos = !around.after.empty();
  if ((adds_bos && around.before != std::vector{bos.value_or(-1)}) ||
      (adds_eos && around.after != std::vector{eos.value_or(-1)})) {
    fail("{}: post_processor: adds other tokens than BOS and EOS, which a GGUF file cannot say",
         folder.string());
  }
  const auto set_id = [&](const char* key, std::optional<int64_t> id) {
    if (id && *id >= 0 && *id < n_tokens) out.set(key, static_cast<uint32_t>(*id));
  };
  set_id(kBos, bos);
  set_id(kEos, eos);
  set_id(kPad, or_in_config(impl.pad, "pad_token_id"));
  std::vector<int64_t> ends;
  for (const Json* file : {&generation, &config}) {
    for (const int64_t id : ids_in(*file, "eos_token_id")) {
      if (id != eos && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
    }
  }
  if (!ends.empty()) set_id(kEndOfTurn, ends[0]);
  if (ends.size() > 1) set_id(kEndOfMessage, ends[1]);
  if (ends.size() > 2) {
    warn("{}: of the {} ends of text, a GGUF file can name three", folder.string(),
         ends.size() + 1);
  }
  out.set(kAddBos, adds_bos || impl.add_bos);
  out.set(kAddEos, adds_eos);
}

GgufMetadata TokenizerGguf::make(const fs::path& model, const GgufTokenizerOptions& options) {
  GgufMetadata out;
  if (is_gguf_file(model)) {
    const GgufMetadata from = read_gguf_metadata(model);
    for (const auto& [key, value] : from.entries()) {
      if (key.starts_with("tokenizer.")) out.set(key, value);
    }
    return out;
  }
  const Tokenizer tokenizer = Tokenizer::from_file(model);
  const Tokenizer::Impl& impl = *tokenizer.impl_;
  if (!impl.decoder.is_byte_level()) {
    fail("{}: the tokenizer's decoder is not ByteLevel alone, which a GGUF file cannot say",
         model.string());
  }
  const int64_t n_ids = impl.vocabulary.end_id();
  const int64_t n_tokens = options.vocab_size > 0 ? options.vocab_size : n_ids;
  if (n_tokens < n_ids) {
    fail("{}: the tokenizer has ids up to {}, but the model only {} tokens", model.string(),
         n_ids - 1, n_tokens);
  }
  const bool is_folder = fs::is_directory(model);
  const fs::path json = is_folder ? model / "tokenizer.json" : model;
  Model parts;
  if (json.extension() == ".json" && fs::exists(json)) {
    parts = read_tokenizer_json(json, options.pre, impl.vocabulary, impl.is_added);
  } else {
    parts.pre = options.pre.empty() ? "kimi-k2" : find_gguf_pre_tokenizer(options.pre).name;
    parts.merges = merges_of_ranks(impl.vocabulary, impl.is_added);
  }
  out.set(kModel, std::string("gpt2"));
  out.set(kPre, parts.pre);
  add_tokens(impl, n_tokens, out);
  out.set(kMerges, std::move(parts.merges));
  if (parts.nfc) out.set(kNfc, true);
  const fs::path folder = is_folder ? model : model.parent_path();
  add_special_ids(impl, folder, n_tokens, out);
  if (is_folder) add_chat_template(folder, out);
  return out;
}

}  // namespace dsv3
