// dsv3 generate: text from a prompt.

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "checkpoint/gguf.h"
#include "cli/answer_printer.h"
#include "cli/chat_options.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/generate_options.h"
#include "cli/generate_report.h"
#include "cli/model_tokenizer.h"
#include "cli/observed_lm.h"
#include "cli/prompts.h"
#include "generation/engine_lm.h"

namespace dsv3::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct GenerateOptions {
  std::filesystem::path model;
  std::optional<std::filesystem::path> tokenizer;
  PromptOptions prompt;
  ChatInput chat;
  GenerationOptions generation;
  EngineOptions engine;
  std::optional<uint32_t> logprobs;
  bool json = false;
  bool stats = false;
  bool echo = false;
  bool show_special_tokens = false;

  bool machine_readable() const { return json || prompt.batch.has_value(); }
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Prints a single sequence while it grows.
class Streamer {
 public:
  explicit Streamer(bool as_text) : as_text_(as_text) {}

  /// From now on what comes is an answer, to be taken apart.
  void set_format(const AnswerFormat& format) { answer_.emplace(format); }

  void generated(std::string_view piece) { answer_ ? text(answer_->push(piece)) : text(piece); }
  void text(std::string_view piece) {
    if (piece.empty()) return;
    write_out(piece);
    flush_out();
    line_open_ = piece.back() != '\n';
  }
  void token(int64_t id) {
    if (!as_text_) text(fmt::format("{}{}", line_open_ ? " " : "", id));
  }
  void end() {
    if (answer_) text(answer_->flush());
    if (line_open_) text("\n");
  }

 private:
  bool as_text_;  // else there is no tokenizer, and tokens are printed as numbers
  bool line_open_ = false;
  std::optional<AnswerText> answer_;
};

class Generate {
 public:
  explicit Generate(const GenerateOptions& options) : options_(options) {}

  int run() {
    if (options_.logprobs && !options_.machine_readable()) {
      throw UsageError("--logprobs needs --json or --prompts-file");
    }
    apply_processor_options(options_.engine);
    const auto begin = Clock::now();
    if (std::filesystem::is_regular_file(options_.model) && !is_gguf_file(options_.model)) {
      fail("{}: expected the folder of a checkpoint or a GGUF file, found another file",
           options_.model.string());
    }
    const DeepseekV3Config config = DeepseekV3Config::from_file(options_.model);
    tokenizer_ = model_tokenizer(options_.model, options_.tokenizer);
    // Before the weights: what is wrong with the request should not take a minute to be said.
    request_.config =
        options_.generation.apply_to(GenerationConfig::from_folder(options_.model, config), 256);
    request_.config.logprobs = options_.logprobs;
    if (request_.config.do_sample) stats_.seed = request_.config.seed;
    if (options_.chat.active()) {
      read_conversations();
    } else {
      prompts_ = read_prompts(options_.prompt, tokenizer_ptr(), request_.config);
    }
    require_room(config);

    const auto model =
        DeepseekV3ForCausalLM::from_pretrained(options_.model, options_.engine.load_options());
    clear_progress();
    stats_.load_seconds = seconds_since(begin);
    stats_.weight_bytes = weight_bytes(model);
    return generate_with(model);
  }

 private:
  bool is_chat() const { return !formats_.empty(); }
  const Tokenizer* tokenizer_ptr() const { return tokenizer_ ? &*tokenizer_ : nullptr; }

  void read_conversations() {
    const bool from_file = options_.chat.messages.has_value();
    if (from_file && options_.prompt.given()) {
      throw UsageError("--messages is the whole prompt: leave -p, --prompt-file and the like out");
    }
    if (!tokenizer_) fail("a conversation needs a tokenizer, and the model has no tokenizer");
    prompts_ = from_file ? std::vector<PromptInput>(1)
                         : read_prompts(options_.prompt, tokenizer_ptr(), request_.config);
    for (PromptInput& prompt : prompts_) {
      if (!from_file && !prompt.text) throw UsageError("--chat needs prompts of text, not ids");
      ChatRequest chat = make_chat_request(options_.chat, prompt.text, options_.model, *tokenizer_);
      prompt.text = std::move(chat.prompt.text);
      prompt.ids = std::move(chat.prompt.ids);
      formats_.push_back(chat.format);
    }
  }

  void require_room(const DeepseekV3Config& config) const {
    const int64_t context =
        std::min(config.max_position_embeddings,
                 options_.engine.context.value_or(config.max_position_embeddings));
    for (const PromptInput& prompt : prompts_) {
      const auto length = static_cast<int64_t>(prompt.ids.size());
      if (length <= context) continue;
      fail("the prompt has {} tokens, more than the context of {}{}", length, context,
           context < config.max_position_embeddings
               ? fmt::format(" (--context; the model allows {})", config.max_position_embeddings)
               : " (max_position_embeddings in config.json)");
    }
  }

  void set_up_request(Streamer* streamer) {
    for (const PromptInput& prompt : prompts_) request_.prompts.push_back(prompt.ids);
    request_.prefill_chunk = options_.engine.prefill_chunk;
    if (tokenizer_) {
      request_.make_text_decoder = [this] {
        if (is_chat()) {
          auto decoder = std::make_shared<AnswerDecoder>(*tokenizer_);
          return TextDecoder{[decoder](int64_t id) { return decoder->push(id); },
                             [decoder] { return decoder->flush(); }};
        }
        auto decoder = std::make_shared<StreamDecoder>(*tokenizer_, !options_.show_special_tokens);
        return TextDecoder{[decoder](int64_t id) { return decoder->push(id); },
                           [decoder] { return decoder->flush(); }};
      };
    } else if (!request_.config.stop_strings.empty()) {
      fail("--stop needs a tokenizer, and the model has no tokenizer");
    }
    if (request_.config.num_beams > 1) return;
    request_.on_token = [this, streamer](int64_t, int64_t token, const TokenLogprobs*) {
      ++tokens_seen_;
      if (streamer != nullptr) streamer->token(token);
      return !interrupted();
    };
    if (streamer != nullptr && tokenizer_) {
      request_.on_text = [streamer](int64_t, std::string_view text) {
        streamer->generated(text);
        return true;
      };
    }
  }

  int generate_with(const DeepseekV3ForCausalLM& model) {
    const bool beams = request_.config.num_beams > 1;
    const bool streams =
        !options_.machine_readable() && !beams && request_.config.num_return_sequences == 1;
    Streamer streamer(tokenizer_.has_value());
    set_up_request(streams ? &streamer : nullptr);
    if (streams && options_.echo) streamer.text(prompt_text());
    if (is_chat()) streamer.set_format(formats_.front());

    int64_t prompt_tokens = 0;
    for (const auto& prompt : request_.prompts)
      prompt_tokens += static_cast<int64_t>(prompt.size());
    generation::EngineLm engine(model, {options_.engine.cache_type(), options_.engine.context});
    ObservedLm lm(engine, prompt_tokens, beams);

    bool cut_off = false;
    GenerationResult result;
    const auto begin = Clock::now();
    const InterruptGuard guard;
    try {
      result = generate(lm, request_);
      cut_off = interrupted();
    } catch (const Interrupted&) {
      cut_off = true;
      stats_.new_tokens = tokens_seen_;
    }
    clear_progress();
    stats_.generate_seconds = seconds_since(begin);
    stats_.counts = lm.counts();
    const int64_t cached =
        options_.engine.context
            ? *options_.engine.context * static_cast<int64_t>(result.sequences.size())
            : stats_.counts.largest_context;
    stats_.cache_bytes =
        cached * cache_bytes_per_token(model.config(), options_.engine.cache_type());
    for (const SequenceResult& sequence : result.sequences) {
      stats_.new_tokens += static_cast<int64_t>(sequence.tokens.size());
    }

    if (streams) {
      streamer.end();
    } else if (!result.sequences.empty()) {
      options_.machine_readable() ? print_json(result) : print_text(result);
    }
    flush_out();
    if (options_.stats || cut_off) write_err(stats_.to_text());
    return cut_off ? kInterrupted : kDone;
  }

  std::string prompt_text() const {
    const PromptInput& prompt = prompts_.front();
    if (prompt.text) return *prompt.text;
    return tokenizer_ ? tokenizer_->decode(prompt.ids, !options_.show_special_tokens)
                      : fmt::format("{}", fmt::join(prompt.ids, " "));
  }

  /// Several sequences of one prompt, one after the other.
  void print_text(const GenerationResult& result) const {
    const size_t count = result.sequences.size();
    for (size_t i = 0; i < count; ++i) {
      const SequenceResult& sequence = result.sequences[i];
      std::string text =
          tokenizer_ ? sequence.text : fmt::format("{}", fmt::join(sequence.tokens, " "));
      if (is_chat()) {
        AnswerText answer(formats_.front());
        text = answer.push(sequence.text);
        text += answer.flush();
        if (text.ends_with('\n')) text.pop_back();
      }
      if (count > 1) write_out(fmt::format("{}[{} of {}]\n", i > 0 ? "\n" : "", i + 1, count));
      if (options_.echo) write_out(prompt_text());
      write_out(text + "\n");
    }
  }

  void print_json(const GenerationResult& result) const {
    const auto per_prompt = static_cast<size_t>(request_.config.num_return_sequences);
    const std::span<const SequenceResult> all(result.sequences);
    for (size_t p = 0; p < prompts_.size(); ++p) {
      Json json =
          prompt_result_json(prompts_[p], all.subspan(p * per_prompt, per_prompt), tokenizer_ptr());
      for (size_t i = 0; is_chat() && i < per_prompt; ++i) {
        json["sequences"][i].update(
            answer_json(read_answer(formats_[p], all[p * per_prompt + i].text)));
      }
      if (stats_.seed) json["seed"] = *stats_.seed;
      if (!options_.prompt.batch) json["stats"] = stats_.to_json();
      write_out(json_line(json));
    }
  }

  const GenerateOptions& options_;
  std::optional<Tokenizer> tokenizer_;
  std::vector<PromptInput> prompts_;
  std::vector<AnswerFormat> formats_;  // of answers to the prompts, if these are conversations
  GenerationRequest request_;
  GenerateStats stats_;
  int64_t tokens_seen_ = 0;
};

}  // namespace

void add_generate_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("generate", "Generate text from a prompt");
  auto options = std::make_shared<GenerateOptions>();
  command
      ->add_option("MODEL", options->model,
                   "folder with config.json, safetensors and tokenizer.json, or a GGUF file")
      ->required();
  add_prompt_options(*command, options->prompt);
  add_chat_options(*command, options->chat);
  add_generation_options(*command, options->generation, "256");

  constexpr const char* kOutput = "Output";
  command
      ->add_flag("--json", options->json,
                 "one JSON object with text, ids and numbers, instead of text")
      ->group(kOutput);
  command
      ->add_option("--logprobs", options->logprobs,
                   "in JSON, log-probabilities of the tokens and the K likeliest")
      ->type_name("K")
      ->group(kOutput);
  command->add_flag("--stats", options->stats, "speed and memory, on standard error")
      ->group(kOutput);
  command->add_flag("--echo", options->echo, "begin with the prompt")->group(kOutput);
  command->add_flag("--show-special-tokens", options->show_special_tokens, "print them too")
      ->group(kOutput);

  add_engine_options(*command, options->engine);
  add_cache_options(*command, options->engine);
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "tokenizer.json, or a folder with one; default: MODEL's")
      ->type_name("PATH")
      ->group("Engine");
  command->footer(R"(
Defaults come from the model's generation_config.json. Names and meanings are those of Hugging Face.

Examples:
  dsv3 generate models/stories -p "Once upon a time"
  dsv3 generate models/stories -p "One day, Tom" --greedy -n 40
  echo "The dog" | dsv3 generate models/stories --temperature 0.8 --seed 7 --stats
  dsv3 generate models/stories -p "Lily" --num-beams 4 --num-return-sequences 2
  dsv3 generate models/stories -p "Lily" --stop "." --stop $'\n' --json
  dsv3 generate models/stories --prompts-file prompts.jsonl > results.jsonl
  dsv3 generate ~/models/DeepSeek-V3.1 --chat --system "Be brief." -p "Why is the sky blue?"
  dsv3 generate ~/models/DeepSeek-V3.1 --messages chat.json --tools tools.json \
      --template with_tools.jinja --json)");
  command->callback(
      [options, &action] { action = [options] { return Generate(*options).run(); }; });
}

}  // namespace dsv3::cli
