// dsv3 tokenize, dsv3 detokenize: texts to token ids and back.

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/json_lines.h"
#include "dsv3/tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3::cli {
namespace {

constexpr const char* kTokenizeExamples = R"(
Without TEXT, standard input has an object on each line: {"text": ...}, or {"raw_hex": ...} for
bytes, and perhaps "add_special_tokens" and "allow_special". Each gives {"ids": [...]}; a bad line
gives {"error": ...} and exit code 1 in the end.

Examples:
  dsv3 tokenize models/stories "Once upon a time"
  dsv3 tokenize models/stories "Once upon a time" --ids
  echo '{"text": "Once upon a time"}' | dsv3 tokenize models/stories)";

constexpr const char* kDetokenizeExamples = R"(
Standard input has an object on each line: {"ids": [...]} and perhaps "skip_special_tokens". Each
gives {"text": ...}; a bad line gives {"error": ...} and exit code 1 in the end.

Examples:
  echo '{"ids": [426, 432, 261, 399]}' | dsv3 detokenize models/stories
  dsv3 tokenize models/stories <texts.jsonl | dsv3 detokenize models/stories)";

struct TokenizeOptions {
  std::filesystem::path model;
  std::optional<std::string> text;
  bool add_special_tokens = false;
  bool plain = false;
  bool ids_only = false;
};

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    text += fmt::format("{}{:02x}", text.empty() ? "" : " ", static_cast<unsigned char>(byte));
  }
  return text;
}

std::string from_hex(const std::string& text, const std::string& where) {
  const auto digit = [&](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    fail("{}: raw_hex: expected hexadecimal digits, found '{}'", where, c);
  };
  if (text.size() % 2 != 0) fail("{}: raw_hex: expected two digits for each byte", where);
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    bytes += static_cast<char>(16 * digit(text[i]) + digit(text[i + 1]));
  }
  return bytes;
}

/// Whether a character shows as itself in a table: no controls, marks without a letter, joiners,
/// changes of direction, or spaces other than the usual one.
bool shows(char32_t c) {
  constexpr CategoryMask kShown = kLetter | kNumber | kPunctuation | kSymbol;
  return c == ' ' || (category_bit(c) & kShown) != 0;
}

/// The bytes of a token on one line, in quotes; as \x.. where they cut a character, and \u{...} for
/// characters that cannot be seen.
std::string quoted(std::string_view bytes) {
  const bool is_text = is_valid_utf8(bytes);
  std::string shown = "\"";
  for (size_t i = 0, length = 1; i < bytes.size(); i += length) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    length = is_text ? utf8_length(byte) : 1;
    const char32_t c = is_text ? utf8_decode(bytes.data() + i) : byte;
    if (c == '\n')
      shown += "\\n";
    else if (c == '\r')
      shown += "\\r";
    else if (c == '\t')
      shown += "\\t";
    else if (c == '"' || c == '\\')
      shown.append(1, '\\').append(1, bytes[i]);
    else if (!is_text && (byte < 0x20 || byte >= 0x7F))
      shown += fmt::format("\\x{:02x}", byte);
    else if (shows(c))
      shown += bytes.substr(i, length);
    // A mark after its letter shows with it.
    else if (i > 0 && (category_bit(c) & kMark) != 0)
      shown += bytes.substr(i, length);
    else
      shown += fmt::format("\\u{{{:x}}}", static_cast<uint32_t>(c));
  }
  return shown + '"';
}

int tokenize_text(const Tokenizer& tokenizer, const TokenizeOptions& options) {
  const std::vector<int64_t> ids =
      tokenizer.encode(*options.text, options.add_special_tokens, !options.plain);
  if (options.ids_only) {
    write_out(fmt::format("{}\n", fmt::join(ids, ",")));
    return kDone;
  }
  write_out(fmt::format("{:>6}  {:>7}  {:<20}  {}\n", "index", "id", "token", "bytes"));
  for (size_t i = 0; i < ids.size(); ++i) {
    write_out(fmt::format("{:>6}  {:>7}  {:<20}  {}\n", i, ids[i],
                          quoted(tokenizer.token_bytes(ids[i])),
                          hex(tokenizer.token_bytes(ids[i]))));
  }
  write_out(fmt::format("{} token{} for {} byte{}\n", ids.size(), ids.size() == 1 ? "" : "s",
                        options.text->size(), options.text->size() == 1 ? "" : "s"));
  return kDone;
}

int tokenize(const TokenizeOptions& options) {
  if (options.ids_only && !options.text) throw UsageError("--ids needs a TEXT");
  const Tokenizer tokenizer = Tokenizer::from_file(options.model);
  if (options.text) return tokenize_text(tokenizer, options);
  return filter_json_lines([&](const Json& line, const std::string& where) -> Json {
    std::string text;
    if (const auto raw = line.find("raw_hex"); raw != line.end() && !raw->is_null()) {
      if (!raw->is_string()) fail("{}: raw_hex: expected a string", where);
      text = from_hex(raw->get<std::string>(), where);
    } else {
      const auto found = line.find("text");
      if (found == line.end() || !found->is_string()) fail("{}: text: expected a string", where);
      text = found->get<std::string>();
    }
    return {{"ids",
             tokenizer.encode(
                 text, bool_member(line, "add_special_tokens", options.add_special_tokens, where),
                 bool_member(line, "allow_special", !options.plain, where))}};
  });
}

int detokenize(const std::filesystem::path& model, bool skip_special_tokens) {
  const Tokenizer tokenizer = Tokenizer::from_file(model);
  return filter_json_lines([&](const Json& line, const std::string& where) -> Json {
    const auto found = line.find("ids");
    if (found == line.end() || !found->is_array()) fail("{}: ids: expected a list", where);
    std::vector<int64_t> ids;
    for (const Json& id : *found) {
      if (!id.is_number_integer()) fail("{}: ids: expected token ids, found {}", where, id.dump());
      ids.push_back(id.get<int64_t>());
    }
    const bool skip = bool_member(line, "skip_special_tokens", skip_special_tokens, where);
    return {{"text", tokenizer.decode(ids, skip)}};
  });
}

}  // namespace

void add_tokenize_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("tokenize", "Show the tokens of texts");
  auto options = std::make_shared<TokenizeOptions>();
  command
      ->add_option("MODEL", options->model, "folder of a model, its tokenizer.json, or a GGUF file")
      ->required();
  command->add_option("TEXT", options->text, "a text; default: JSON lines on standard input");
  command->add_flag("--ids", options->ids_only, "print only the ids, as --ids of other commands");
  command->add_flag("--add-special-tokens", options->add_special_tokens,
                    "what the tokenizer's post-processor adds");
  command->add_flag("--plain", options->plain,
                    "take texts of special tokens for text like any other");
  command->footer(kTokenizeExamples);
  command->callback([options, &action] { action = [options] { return tokenize(*options); }; });
}

void add_detokenize_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("detokenize", "Turn token ids back into text");
  auto model = std::make_shared<std::filesystem::path>();
  auto skip = std::make_shared<bool>(false);
  command->add_option("MODEL", *model, "folder of a model, its tokenizer.json, or a GGUF file")
      ->required();
  command->add_flag("--skip-special-tokens", *skip, "leave special tokens out");
  command->footer(kDetokenizeExamples);
  command->callback(
      [model, skip, &action] { action = [model, skip] { return detokenize(*model, *skip); }; });
}

}  // namespace dsv3::cli
