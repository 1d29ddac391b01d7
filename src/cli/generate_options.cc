#include "cli/generate_options.h"

#include <charconv>
#include <random>

#include "cli/commands.h"
#include "cli/console.h"

namespace dsv3::cli {
namespace {

constexpr const char* kLength = "Length and stopping";
constexpr const char* kSampling = "Sampling";
constexpr const char* kBeams = "Beam search";
constexpr const char* kLogits = "Changes to the logits";

/// Options that mean nothing but in sampling.
constexpr const char* kSamplingKeys[] = {"temperature", "top_k", "top_p",          "min_p",
                                         "typical_p",   "top_h", "epsilon_cutoff", "eta_cutoff"};

template <typename T>
T parse_number(std::string_view text, const std::string& option, const char* expected) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    throw UsageError(fmt::format("{}: expected {}, found '{}'", option, expected, text));
  }
  return value;
}

/// Adds options that put a value under `key` of the arguments.
class Adder {
 public:
  Adder(CLI::App& command, Json& given) : command_(command), given_(given) {}

  template <typename T>
  void value(const std::string& names, const std::string& key, const char* type, const char* group,
             const std::string& help) {
    command_
        .add_option_function<T>(
            names, [this_given = &given_, key](const T& v) { (*this_given)[key] = v; }, help)
        ->type_name(type)
        ->group(group);
  }
  void integer(const std::string& names, const std::string& key, const char* group,
               const std::string& help) {
    value<int64_t>(names, key, "N", group, help);
  }
  void number(const std::string& names, const std::string& key, const char* group,
              const std::string& help) {
    value<double>(names, key, "X", group, help);
  }
  /// An option that may be repeated; `add` takes one use of it.
  void repeated(const std::string& name, const char* type, const char* group,
                const std::string& help, std::function<void(const std::string& text)> add) {
    command_
        .add_option_function<std::vector<std::string>>(
            name,
            [add = std::move(add)](const std::vector<std::string>& all) {
              for (const std::string& text : all) add(text);
            },
            help)
        ->allow_extra_args(false)
        ->type_name(type)
        ->group(group);
  }
  void ids(const std::string& name, const std::string& key, const char* group,
           const std::string& help) {
    repeated(name, "ID,...", group, help,
             [this_given = &given_, key, name](const std::string& text) {
               for (const int64_t id : parse_ids(text, name)) (*this_given)[key].push_back(id);
             });
  }

 private:
  CLI::App& command_;
  Json& given_;
};

void add_bad_words(Json& given, const std::string& text) {
  Json& words = given["bad_words_ids"];
  if (text.empty() || text[0] != '[') {
    words.push_back(parse_ids(text, "--bad-words-ids"));
    return;
  }
  const Json parsed = Json::parse(text, nullptr, false);
  if (!parsed.is_array())
    throw UsageError(fmt::format("--bad-words-ids: '{}' is no list of JSON", text));
  const bool is_one = !parsed.empty() && !parsed[0].is_array();
  for (const Json& word : is_one ? Json::array({parsed}) : parsed) words.push_back(word);
}

void add_logit_bias(Json& given, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) {
    throw UsageError(fmt::format("--logit-bias: expected ID=VALUE, found '{}'", text));
  }
  const auto id =
      parse_number<uint64_t>(text.substr(0, equals), "--logit-bias", "a token id before the '='");
  given["logit_bias"][std::to_string(id)] =
      parse_number<double>(text.substr(equals + 1), "--logit-bias", "a number after the '='");
}

void add_any(Json& given, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos)
    throw UsageError(fmt::format("--set: expected NAME=VALUE, found '{}'", text));
  const Json value = Json::parse(text.substr(equals + 1), nullptr, false);
  if (value.is_discarded())
    throw UsageError(fmt::format("--set: the value of '{}' is no JSON", text));
  given[text.substr(0, equals)] = value;
}

}  // namespace

std::vector<int64_t> parse_ids(const std::string& text, const std::string& option) {
  std::vector<int64_t> ids;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view item = std::string_view(text).substr(begin, end - begin);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    ids.push_back(parse_number<int64_t>(item, option, "token ids like 17,4,256"));
    begin = end + 1;
  }
  return ids;
}

void add_generation_options(CLI::App& command, GenerationOptions& options,
                            const std::string& default_length) {
  Json& given = options.given;
  Adder add(command, given);
  add.integer("-n,--max-new-tokens", "max_new_tokens", kLength,
              "most tokens to generate; default: the model's, or " + default_length +
                  "; the end of the context ends it too");
  add.integer("--max-length", "max_length", kLength, "most tokens of prompt and text together");
  add.integer("--min-new-tokens", "min_new_tokens", kLength, "no end of sequence before so many");
  add.number("--max-time", "max_time", kLength, "seconds after which to stop");
  add.ids("--eos-token-id", "eos_token_id", kLength,
          "tokens that end a sequence, instead of the model's");
  add.repeated("--stop", "TEXT", kLength,
               "text that ends a sequence, and is left out; may be repeated",
               [&given](const std::string& text) { given["stop_strings"].push_back(text); });

  command.add_flag("--greedy", options.greedy, "always the most likely token")->group(kSampling);
  command.add_flag("--sample", options.sample, "random tokens, by their probability")
      ->group(kSampling);
  add.number("--temperature", "temperature", kSampling,
             "below 1 sharper, above 1 flatter; 0 is --greedy");
  add.integer("--top-k", "top_k", kSampling, "only the so many most likely tokens; 0: all");
  add.number("--top-p", "top_p", kSampling,
             "only the most likely tokens that sum up to this probability");
  add.number("--min-p", "min_p", kSampling,
             "only tokens at least so likely, relative to the likeliest");
  add.number("--typical-p", "typical_p", kSampling, "locally typical sampling with this mass");
  add.repeated("--seed", "N", kSampling,
               "of the random numbers; default: a random one, see --stats",
               [&given](const std::string& text) {
                 given["seed"] = parse_number<uint64_t>(text, "--seed", "a number of at least 0");
               });
  add.integer("--num-return-sequences", "num_return_sequences", kSampling,
              "sequences for each prompt");

  add.integer("--num-beams", "num_beams", kBeams,
              "beams; more than 1 searches instead of sampling");
  add.number("--length-penalty", "length_penalty", kBeams,
             "above 0 favours long sequences, below 0 short ones");
  command
      .add_option_function<std::string>(
          "--early-stopping",
          [&given](const std::string& text) {
            given["early_stopping"] = text == "never" ? Json(text) : Json(text == "true");
          },
          "when to give up running beams")
      ->check(CLI::IsMember({"true", "false", "never"}).description(""))
      ->type_name("true|false|never")
      ->group(kBeams);

  add.number("--repetition-penalty", "repetition_penalty", kLogits,
             "above 1 disfavours tokens that occurred");
  add.number("--presence-penalty", "presence_penalty", kLogits,
             "taken from the logits of generated tokens");
  add.number("--frequency-penalty", "frequency_penalty", kLogits,
             "the same, once for every occurrence");
  add.integer("--no-repeat-ngram-size", "no_repeat_ngram_size", kLogits,
              "no sequence of N tokens occurs twice");
  add.repeated("--bad-words-ids", "ID,...", kLogits,
               "a sequence of tokens that must not come; may be repeated; a JSON list of lists too",
               [&given](const std::string& text) { add_bad_words(given, text); });
  add.repeated("--logit-bias", "ID=X", kLogits, "added to a token's logit; may be repeated",
               [&given](const std::string& text) { add_logit_bias(given, text); });
  add.ids("--suppress-tokens", "suppress_tokens", kLogits, "tokens that must not come");
  add.repeated("--set", "NAME=JSON", kLogits,
               "any other field of generation_config.json; may be repeated",
               [&given](const std::string& text) { add_any(given, text); });
}

void apply_arguments(GenerationConfig& config, Json arguments, const std::string& where) {
  const auto is_for_sampling = [&](const char* key) {
    return arguments.contains(key) && !arguments[key].is_null();
  };
  if (arguments.value("temperature", Json()) == 0.0) {
    arguments.erase("temperature");
    arguments["do_sample"] = false;
  } else if (std::any_of(std::begin(kSamplingKeys), std::end(kSamplingKeys), is_for_sampling) &&
             !arguments.contains("do_sample")) {
    arguments["do_sample"] = true;
  }
  GenerationConfig changed = config;
  changed.apply(arguments.dump(), where);
  changed.validate(where);
  config = std::move(changed);
}

GenerationConfig GenerationOptions::apply_to(GenerationConfig config,
                                             std::optional<int64_t> default_new_tokens) const {
  Json arguments = given;
  if (greedy && sample) throw UsageError("--greedy and --sample exclude each other");
  const auto it = given.find("temperature");
  const bool zero_temperature = it != given.end() && *it == 0.0;
  if (zero_temperature) arguments.erase("temperature");
  if (sample && zero_temperature) throw UsageError("--sample needs a --temperature above 0");

  const auto asks_for_sampling = [&](const char* key) { return arguments.contains(key); };
  const bool beams = given.value("num_beams", config.num_beams) > 1;
  if (greedy || zero_temperature) {
    arguments["do_sample"] = false;
  } else if (sample) {
    arguments["do_sample"] = true;
  } else if (beams) {
    if (given.contains("num_beams")) arguments["do_sample"] = false;
  } else if (std::any_of(std::begin(kSamplingKeys), std::end(kSamplingKeys), asks_for_sampling)) {
    arguments["do_sample"] = true;
  }
  // max_new_tokens takes precedence in a config, but a length that was asked for goes before a
  // default.
  if (given.contains("max_length") && !given.contains("max_new_tokens"))
    arguments["max_new_tokens"] = nullptr;

  const GenerationConfig defaults = config;
  try {
    config.apply(arguments.dump(-1, ' ', false, Json::error_handler_t::replace), "command line");
    config.validate("command line");
  } catch (const Error& error) {
    defaults.validate("generation_config.json");  // if it is to blame, say so
    throw UsageError(error.what());
  }
  if (!config.max_new_tokens && !config.max_length) config.max_new_tokens = default_new_tokens;
  if (config.do_sample && !arguments.contains("seed") && config.seed == 0)
    config.seed = std::random_device()();
  if (!config.do_sample && greedy) {
    for (const char* key : kSamplingKeys) {
      if (arguments.contains(key))
        note(fmt::format("warning: {} has no effect with --greedy", key));
    }
  }
  return config;
}

}  // namespace dsv3::cli
