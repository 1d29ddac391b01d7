#include "text/tokenizer_gguf.h"

#include "base/error.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

using namespace gguf_keys;

std::vector<GgufTokenType> to_types(const std::optional<std::vector<int64_t>>& numbers,
                                    size_t n_tokens) {
  if (!numbers) return std::vector<GgufTokenType>(n_tokens, GgufTokenType::kNormal);
  if (numbers->size() != n_tokens) {
    fail("key '{}' has {} entries, but there are {} tokens", kTokenTypes, numbers->size(),
         n_tokens);
  }
  std::vector<GgufTokenType> types(n_tokens);
  for (size_t i = 0; i < n_tokens; ++i) {
    const int64_t number = (*numbers)[i];
    if (number < 1 || number > 6) {
      fail("key '{}': token {} has type {}, expected 1 to 6", kTokenTypes, i, number);
    }
    types[i] = static_cast<GgufTokenType>(number);
  }
  return types;
}

std::vector<Merge> read_merges(const GgufStrings& lines, const Vocabulary& vocabulary) {
  std::vector<Merge> merges(lines.size());
  std::string merged;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = lines[i];
    const size_t space = line.find(' ', 1);
    if (space == line.npos || space + 1 == line.size()) {
      fail("key '{}': merge {} is '{}', expected two tokens with a space between", kMerges, i,
           utf8_lossy(line));
    }
    const auto find = [&](std::string_view token) {
      const auto id = vocabulary.find(token);
      if (!id) {
        fail("key '{}': merge {} is '{}', but '{}' is no token", kMerges, i, utf8_lossy(line),
             utf8_lossy(token));
      }
      return static_cast<int32_t>(*id);
    };
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    merged.assign(left).append(right);
    merges[i] = {find(left), find(right), find(merged), static_cast<int32_t>(i)};
  }
  return merges;
}

/// What all keys say, of the types that they must have.
struct Keys {
  explicit Keys(const GgufMetadata& m)
      : pre(m.string(kPre)),
        tokens(m.strings(kTokens)),
        merges(m.strings(kMerges)),
        types(m.find_integers(kTokenTypes)),
        bos(m.find_integer(kBos)),
        eos(m.find_integer(kEos)),
        pad(m.find_integer(kPad)),
        add_bos(m.find_boolean(kAddBos)),
        add_eos(m.find_boolean(kAddEos)),
        nfc(m.find_boolean(kNfc).value_or(false)) {}

  const std::string& pre;
  const GgufStrings &tokens, &merges;
  std::optional<std::vector<int64_t>> types;
  std::optional<int64_t> bos, eos, pad;
  std::optional<bool> add_bos, add_eos;
  bool nfc;
};

void check(const Keys& keys, const GgufMetadata& metadata) {
  for (const char* key :
       {"tokenizer.ggml.normalizer.lowercase", "tokenizer.ggml.normalizer.strip_accents"}) {
    if (metadata.find_boolean(key).value_or(false)) {
      fail("{}: key '{}': is not supported", metadata.where(), key);
    }
  }
  const auto check_id = [&](const char* key, const std::optional<int64_t>& id) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= keys.tokens.size())) {
      fail("{}: key '{}' is {}, but there are {} tokens", metadata.where(), key, *id,
           keys.tokens.size());
    }
  };
  check_id(kBos, keys.bos);
  check_id(kEos, keys.eos);
  check_id(kPad, keys.pad);
  const auto check_added = [&](const char* key, const std::optional<bool>& adds, const char* id_key,
                               const std::optional<int64_t>& id) {
    if (adds.value_or(false) && !id) {
      fail("{}: key '{}' is true, but there is no key '{}'", metadata.where(), key, id_key);
    }
  };
  check_added(kAddBos, keys.add_bos, kBos, keys.bos);
  check_added(kAddEos, keys.add_eos, kEos, keys.eos);
}

/// The tokens that are cut out of texts; all go into `vocabulary`.
std::vector<AddedToken> read_tokens(const Keys& keys, Vocabulary& vocabulary) {
  const std::vector<GgufTokenType> types = to_types(keys.types, keys.tokens.size());
  vocabulary.reserve(keys.tokens.size());
  const std::string where = fmt::format("key '{}'", kTokens);
  std::vector<AddedToken> added;
  for (size_t i = 0; i < keys.tokens.size(); ++i) {
    const std::string_view text = keys.tokens[i];
    if (types[i] == GgufTokenType::kUnused || text.empty()) continue;
    const auto id = static_cast<int64_t>(i);
    with_context(where, [&] {
      if (!is_valid_utf8(text)) fail("token {} ('{}') is not valid UTF-8", i, utf8_lossy(text));
      vocabulary.add(id, text);
    });
    const bool control = types[i] == GgufTokenType::kControl;
    if (!control && types[i] != GgufTokenType::kUserDefined) continue;
    AddedToken token;
    token.id = id;
    token.content = text;
    token.special = control;
    token.normalized = false;
    added.push_back(std::move(token));
  }
  vocabulary.end_model();
  return added;
}

}  // namespace

void Tokenizer::Impl::read_gguf(const GgufMetadata& metadata) {
  if (const std::string& model = metadata.string(kModel); model != "gpt2") {
    fail("{}: key '{}' is '{}', expected 'gpt2', a byte-level BPE", metadata.where(), kModel,
         utf8_lossy(model));
  }
  const Keys keys(metadata);
  check(keys, metadata);
  with_context(metadata.where(), [&] {
    const GgufPreTokenizer* pre = nullptr;
    with_context(fmt::format("key '{}'", kPre),
                 [&] { pre = &find_gguf_pre_tokenizer(utf8_lossy(keys.pre)); });
    const std::vector<AddedToken> added = read_tokens(keys, vocabulary);
    if (keys.nfc) normalizer = Normalizer::from_json({{"type", "NFC"}});
    pre_tokenizer = PreTokenizer::from_json(pre_tokenizer_json(pre->patterns));
    BpeOptions options;
    options.ignore_merges = pre->ignore_merges;
    bpe = Bpe(vocabulary, read_merges(keys.merges, vocabulary), options);
    set_added_tokens(added);
    decoder = Decoder::byte_level();
    make_token_bytes();
    in_chunks = pre->in_chunks;
    bos = keys.bos;
    eos = keys.eos;
    pad = keys.pad;
    add_bos = keys.add_bos.value_or(pre->add_bos && bos.has_value());
    if (keys.add_eos.value_or(false)) post_processor.after = {*eos};
  });
}

Tokenizer TokenizerGguf::read(const GgufMetadata& metadata) {
  auto impl = std::make_shared<Tokenizer::Impl>();
  impl->read_gguf(metadata);
  return Tokenizer(std::move(impl));
}

}  // namespace dsv3
