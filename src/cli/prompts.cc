#include "cli/prompts.h"

#include <unistd.h>

#include <iostream>
#include <iterator>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/generate_options.h"

namespace dsv3::cli {
namespace {

std::string read_source(const std::string& path) {
  if (path != "-") return read_file(path);
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

/// Editors and echo end a text with a line break that nobody means as part of the prompt.
std::string without_last_newline(std::string text) {
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (!text.empty() && text.back() == '\r') text.pop_back();
  return text;
}

const Tokenizer& require(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr)
    fail("the model has no tokenizer: give the prompt as --ids, or a --tokenizer");
  return *tokenizer;
}

std::vector<int64_t> encode(const std::string& text, const Tokenizer* tokenizer,
                            const GenerationConfig& config) {
  std::vector<int64_t> ids = require(tokenizer).encode_prompt(text);
  if (ids.empty() && config.bos_token_id) ids.push_back(*config.bos_token_id);
  if (ids.empty()) fail("the prompt is empty, and the model has no bos_token_id to begin with");
  return ids;
}

PromptInput read_line(const std::string& line, const std::string& where, const Tokenizer* tokenizer,
                      const GenerationConfig& config) {
  const Json object = parse_json(line, where);
  if (!object.is_object())
    fail("{}: expected an object like {{\"prompt\": \"...\"}}, found {}", where, line);
  PromptInput prompt;
  if (object.contains("id")) prompt.label = object["id"];
  if (object.contains("prompt") && object["prompt"].is_string()) {
    prompt.text = object["prompt"].get<std::string>();
    prompt.ids = encode(*prompt.text, tokenizer, config);
    return prompt;
  }
  const Json ids = object.value("ids", Json());
  if (!ids.is_array()) fail("{}: expected a string \"prompt\" or a list \"ids\"", where);
  for (const Json& id : ids) {
    if (!id.is_number_integer()) fail("{}: ids: expected token ids, found {}", where, id.dump());
    prompt.ids.push_back(id.get<int64_t>());
  }
  return prompt;
}

std::vector<PromptInput> read_batch(const std::string& path, const Tokenizer* tokenizer,
                                    const GenerationConfig& config) {
  const std::string text = read_source(path), name = path == "-" ? "standard input" : path;
  std::vector<PromptInput> prompts;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    prompts.push_back(read_line(line, fmt::format("{}:{}", name, number), tokenizer, config));
  }
  if (prompts.empty()) fail("{}: there is no prompt in it", name);
  return prompts;
}

}  // namespace

void add_prompt_options(CLI::App& command, PromptOptions& options) {
  constexpr const char* kGroup = "Prompt";
  const auto add = [&](const char* names, std::optional<std::string>& value, const char* type,
                       const char* help) {
    return command.add_option(names, value, help)->type_name(type)->group(kGroup);
  };
  CLI::Option* text =
      add("-p,--prompt", options.text, "TEXT", "what to go on from; default: standard input");
  CLI::Option* file =
      add("--prompt-file", options.file, "FILE", "a file with the prompt; - is standard input");
  CLI::Option* ids = add("--ids", options.ids, "ID,...", "the prompt as token ids");
  CLI::Option* batch = add("--prompts-file", options.batch, "FILE",
                           "many prompts, an object {\"prompt\": ...} or {\"ids\": ...} on each "
                           "line; generated together, "
                           "gives an object on each line");
  text->excludes(file)->excludes(ids)->excludes(batch);
  file->excludes(ids)->excludes(batch);
  ids->excludes(batch);
}

std::vector<PromptInput> read_prompts(const PromptOptions& options, const Tokenizer* tokenizer,
                                      const GenerationConfig& config) {
  if (options.batch) return read_batch(*options.batch, tokenizer, config);
  if (options.ids)
    return {PromptInput{.text = {}, .ids = parse_ids(*options.ids, "--ids"), .label = {}}};
  require(tokenizer);
  PromptInput prompt;
  if (options.text) {
    prompt.text = *options.text;
  } else if (options.file) {
    prompt.text = without_last_newline(read_source(*options.file));
  } else if (isatty(STDIN_FILENO) == 0) {
    prompt.text = without_last_newline(read_source("-"));
  } else {
    throw UsageError(
        "no prompt: give -p TEXT, --prompt-file FILE, --ids or something on standard input");
  }
  prompt.ids = encode(*prompt.text, tokenizer, config);
  return {std::move(prompt)};
}

}  // namespace dsv3::cli
