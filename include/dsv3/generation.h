#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dsv3/config.h"
#include "dsv3/error.h"
#include "dsv3/model.h"
#include "dsv3/tokenizer.h"

namespace dsv3 {

namespace generation {
class CausalLm;
}

/// When beam search may end before its longest allowed sequence; Hugging Face's `early_stopping`.
enum class EarlyStopping {
  kFalse,  ///< when the best running beam, as long as it is, cannot beat the worst finished one
  kTrue,   ///< as soon as there are num_beams finished sequences
  kNever,  ///< as kFalse, but a running beam is judged at the length that favours it most
};

/// How to generate: the fields of Hugging Face's `GenerationConfig` under their own names and with
/// the defaults that its `generate` fills in, and a few of vLLM's. Greedy search unless `do_sample`
/// or `num_beams` say otherwise. Source: transformers 5.12 `generation/configuration_utils.py`.
struct GenerationConfig {
  /// Length, in tokens. `max_length` counts the prompt, as wide as it was padded, and
  /// `max_new_tokens` takes precedence over it; with neither, 20 new tokens. The model's context
  /// ends a sequence in any case. `min_new_tokens` takes precedence over `min_length`; both only
  /// keep eos away.
  std::optional<int64_t> max_length;
  std::optional<int64_t> max_new_tokens;
  int64_t min_length = 0;
  std::optional<int64_t> min_new_tokens;
  std::optional<double> max_time;  ///< seconds; the step under way is finished
  /// Looked for in new text only (the reference also finds one that begins in the prompt); need
  /// GenerationRequest::make_text_decoder.
  std::vector<std::string> stop_strings;

  bool do_sample = false;
  int64_t num_beams = 1;
  int64_t num_return_sequences = 1;  ///< of each prompt; with beams the best so many
  double length_penalty = 1.0;  ///< a beam's score is its log-probability / length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::kFalse;
  /// The random numbers of a token are a function of the seed, the sequence's index and the token's
  /// position alone, the same on every platform. (torch's are others, so samples are not its
  /// samples.)
  uint64_t seed = 0;

  /// Used with do_sample only.
  double temperature = 1.0;
  int64_t top_k = 50;  ///< 0: all
  double top_p = 1.0;
  std::optional<double> min_p;
  std::optional<double> top_h;
  double typical_p = 1.0;
  double epsilon_cutoff = 0.0;
  double eta_cutoff = 0.0;

  /// Used always.
  double repetition_penalty = 1.0;          ///< over prompt and new tokens
  double encoder_repetition_penalty = 1.0;  ///< above 1 favours tokens of the prompt
  double presence_penalty = 0.0;   ///< subtracted from tokens generated so far (OpenAI, vLLM)
  double frequency_penalty = 0.0;  ///< subtracted once for each time generated (OpenAI, vLLM)
  int64_t no_repeat_ngram_size = 0;
  int64_t encoder_no_repeat_ngram_size = 0;  ///< n-grams of the prompt only
  std::vector<std::vector<int64_t>> bad_words_ids;
  std::map<int64_t, double> logit_bias;  ///< added to the logits of these tokens (OpenAI)
  /// Added to the last token's logit where the tokens before it have just been seen.
  std::vector<std::pair<std::vector<int64_t>, double>> sequence_bias;
  std::vector<int64_t> suppress_tokens;
  std::vector<int64_t> begin_suppress_tokens;  ///< not as the first new token
  std::optional<int64_t> forced_bos_token_id;  ///< after a prompt of one token
  std::vector<int64_t> forced_eos_token_id;    ///< as the last token that max_length allows
  /// {start, factor}: from `start` new tokens on, eos gains |logit| * (factor^(tokens past start) -
  /// 1).
  std::optional<std::pair<int64_t, double>> exponential_decay_length_penalty;
  bool remove_invalid_values = false;  ///< NaN becomes 0 and infinities the largest floats
  bool renormalize_logits = false;

  std::optional<int64_t> pad_token_id;
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_id;  ///< written back as a number where there is one

  /// Ours: log-probability of each new token and of so many most likely ones. Unset: none.
  std::optional<int64_t> logprobs;

  /// Reads generation_config.json text; an absent or null key has its default. Throws Error naming
  /// `where`, the field and the value for a wrong type. Values are judged by `validate`.
  static GenerationConfig from_json(const std::string& text,
                                    const std::string& where = "generation_config.json");
  /// The generation_config.json of a checkpoint folder, or the defaults where it has none; bos, eos
  /// and pad ids that are missing come from `config`.
  static GenerationConfig from_folder(const std::filesystem::path& folder,
                                      const DeepseekV3Config& config);
  /// Call arguments, as an object of JSON: each key replaces the field. Null switches an option off
  /// (top_k and temperature too). An unknown key is an Error.
  void apply(const std::string& kwargs_json, const std::string& where = "generation arguments");
  /// bos, eos and pad ids that are not set become those of the model's config.
  void fill_special_tokens(const DeepseekV3Config& config);
  /// The text of a generation_config.json: what differs from the defaults, and everything of the
  /// text this was read from, keys that we do not know included.
  std::string to_json() const;
  /// Throws Error naming field, value and what is allowed. Called by `generate`.
  void validate(const std::string& where = "generation config") const;

  /// The JSON object this was read from ("" if made by hand): source of the unknown keys.
  std::string original_json;
};

/// Log-probabilities (natural logarithm) under the model's own distribution: before temperature,
/// penalties and every other change to the logits.
struct TokenLogprobs {
  float logprob = 0;                           ///< of the token that was chosen
  std::vector<std::pair<int64_t, float>> top;  ///< token and log-probability, most likely first
};

enum class FinishReason {
  kStop,        ///< an eos token
  kStopString,  ///< a stop string
  kLength,      ///< max_new_tokens, max_length, max_time or the end of the model's context
  kCancelled,   ///< a callback said so
};
/// "stop", "stop_string", "length" or "cancelled".
std::string_view finish_reason_name(FinishReason reason);

/// Text of one sequence, made of its tokens one by one; a token may complete no character and give
/// "".
struct TextDecoder {
  std::function<std::string(int64_t id)> push;
  std::function<std::string()> flush;  ///< what is still held back, at the end; may be empty
};

/// What to generate from. Exactly one of `prompts` and `input_ids` is given.
struct GenerationRequest {
  /// Prompts of any lengths, taken as they are. Sequences do not influence one another: max_length
  /// counts each one's own prompt, and penalties see no padding.
  std::vector<std::vector<int64_t>> prompts;

  /// Or Hugging Face's way: rows of one width, padded on the left. `attention_mask` has the same
  /// shape, 1 for tokens; without it, it is inferred from pad_token_id (if that is no eos id) as
  /// Hugging Face does. As there, max_length counts the padded width and penalties see the padding.
  std::vector<std::vector<int64_t>> input_ids;
  std::vector<std::vector<int64_t>> attention_mask;

  GenerationConfig config;
  /// Prompt tokens that one forward pass takes at most, over all sequences.
  int64_t prefill_chunk = 512;

  /// Called with each new token, eos included, in order within a sequence; false ends the sequence.
  /// `logprobs` is null unless config.logprobs is set. Not available with beams.
  std::function<bool(int64_t sequence, int64_t token, const TokenLogprobs* logprobs)> on_token;

  /// Makes one decoder for each sequence; needed for stop strings, on_text and
  /// SequenceResult::text.
  std::function<TextDecoder()> make_text_decoder;
  /// Called with text that no stop string can still take back; false ends the sequence. Not
  /// available with beams.
  std::function<bool(int64_t sequence, std::string_view text)> on_text;
  /// Whether text keeps the stop string that ended it.
  bool include_stop_string = false;
};

struct SequenceResult {
  std::vector<int64_t> tokens;  ///< new tokens, without padding; the eos that ended it included
  FinishReason finish_reason = FinishReason::kLength;
  std::string stop_string;              ///< the one that ended it
  std::string text;                     ///< without eos; "" without make_text_decoder
  std::vector<TokenLogprobs> logprobs;  ///< one for each token if asked for
  float score = 0;                      ///< Hugging Face's `sequences_scores`; beams only
};

struct GenerationResult {
  /// Sequence r of prompt p is at p * num_return_sequences + r.
  std::vector<SequenceResult> sequences;
};

/// Generates from all prompts together: one ragged batch, which sequences leave when they are
/// finished. Throws Error for a request that makes no sense (an empty prompt, one longer than the
/// context, ids outside the vocabulary, padding on the right ...). Same tokens as `generate` of
/// transformers 5.12 for greedy and beam search. Not to be called for one model from two threads at
/// once.
GenerationResult generate(const DeepseekV3ForCausalLM& model, const GenerationRequest& request);
/// The same for anything that behaves like a causal language model, or for an engine with options
/// of its own.
GenerationResult generate(generation::CausalLm& model, const GenerationRequest& request);

/// For GenerationRequest::make_text_decoder: text by this tokenizer.
std::function<TextDecoder()> text_decoder(const Tokenizer& tokenizer,
                                          bool skip_special_tokens = true);

/// Hugging Face's return value: prompt rows (padded on the left) + new tokens, filled up with the
/// pad token (eos where there is none), [prompts * num_return_sequences, width].
std::vector<std::vector<int64_t>> padded_sequences(const GenerationRequest& request,
                                                   const GenerationResult& result);

/// Finds stop strings in text that arrives in pieces of any size.
class StopStringMatcher {
 public:
  StopStringMatcher() = default;
  /// `include` keeps the stop string at the end of the text. Empty stop strings are an Error.
  explicit StopStringMatcher(std::vector<std::string> stop_strings, bool include = false);

  /// Takes the next piece and returns what may be shown: all text but an end that could be the
  /// beginning of a stop string. Of several stop strings the one that is complete first counts;
  /// where two end at the same byte, the longer one. After a stop, text is ignored.
  std::string push(std::string_view piece);
  /// The text still held back, when no more will come.
  std::string flush();
  bool stopped() const { return stopped_.has_value(); }
  /// The stop string that was found; only when stopped().
  const std::string& stop_string() const { return stop_strings_[*stopped_]; }

 private:
  std::vector<std::string> stop_strings_;
  bool include_ = false;
  std::string held_;
  std::optional<size_t> stopped_;
};

}  // namespace dsv3
