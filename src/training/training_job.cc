#include "training/training_job.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "dsv3/generation.h"
#include "dsv3/tokenizer.h"
#include "model/pretrained.h"
#include "training/schedule.h"
#include "training/token_shard.h"
#include "training/window_reader.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

/// A tokenizer and the folder whose files are saved with the model.
struct RunTokenizer {
  Tokenizer tokenizer;
  fs::path folder;
};

std::optional<RunTokenizer> open_tokenizer(const TrainConfig& config) {
  if (!config.model.tokenizer.empty()) {
    const fs::path path = config.model.tokenizer;
    return RunTokenizer{Tokenizer::from_file(path),
                        fs::is_directory(path) ? path : path.parent_path()};
  }
  const fs::path model =
      config.model.checkpoint.empty() ? config.model.config : config.model.checkpoint;
  const fs::path folder = fs::is_directory(model) ? model : model.parent_path();
  if (!fs::exists(folder / "tokenizer.json") && !fs::exists(folder / "tiktoken.model"))
    return std::nullopt;
  return RunTokenizer{Tokenizer::from_file(folder.empty() ? "." : folder), folder};
}

class TrainerLearner : public Learner {
 public:
  TrainerLearner(Trainer trainer, std::optional<RunTokenizer> tokenizer)
      : trainer_(std::move(trainer)), tokenizer_(std::move(tokenizer)) {}

  StepReport step(std::span<const Window> windows, const StepSettings& settings) override {
    return trainer_.step(windows, settings);
  }
  Evaluation evaluate(std::span<const Window> windows) override {
    return trainer_.evaluate(windows);
  }
  void save(const fs::path& folder) override {
    trainer_.save_model(folder);
    trainer_.save_state(folder);
    if (tokenizer_) model::copy_companions(tokenizer_->folder, folder);
  }
  void load(const fs::path& folder) override { trainer_.load_state(folder); }
  bool can_write_text() const override { return tokenizer_.has_value(); }
  std::string write_text(const std::string& prompt, const SampleSettings& settings,
                         uint64_t seed) override {
    GenerationRequest request;
    request.prompts = {tokenizer_->tokenizer.encode_prompt(prompt)};
    request.config.fill_special_tokens(trainer_.config());
    request.config.max_new_tokens = settings.tokens;
    request.config.do_sample = settings.temperature > 0;
    if (settings.temperature > 0) request.config.temperature = settings.temperature;
    request.config.seed = seed;
    request.make_text_decoder = text_decoder(tokenizer_->tokenizer);
    return generate(trainer_.model(), request).sequences.front().text;
  }

  const Trainer& trainer() const { return trainer_; }

 private:
  Trainer trainer_;
  std::optional<RunTokenizer> tokenizer_;
};

std::vector<fs::path> paths_of(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

WindowReader open_data(const TrainConfig& config, const DeepseekV3Config& model,
                       const std::vector<std::string>& shards, bool shuffle) {
  return WindowReader({.shards = paths_of(shards),
                       .sequence_length = config.data.sequence_length,
                       .vocab_size = model.vocab_size,
                       .seed = static_cast<uint64_t>(config.seed),
                       .shuffle = shuffle});
}

void require_tokenizer(const std::vector<std::string>& names, const Tokenizer& tokenizer) {
  const uint64_t expected = tokenizer_hash(tokenizer);
  for (const fs::path& path : find_shards(paths_of(names))) {
    if (TokenShard::open(path).tokenizer_hash() == expected) continue;
    fail("{}: its tokens were made with another tokenizer than the model's: see model.tokenizer",
         path.string());
  }
}

/// The model's sizes and rules: everything in its config.json that changes what is computed.
Json model_identity(DeepseekV3Config config) {
  config.original_json.clear();
  config.dtype.clear();
  config.architectures.clear();
  config.quantization_config.reset();
  return parse_json(config.to_json(), "config.json");
}

Trainer make_trainer(const TrainConfig& config, const DeepseekV3Config& model,
                     const std::optional<StoredCheckpoint>& latest) {
  const auto seed = static_cast<uint64_t>(config.seed);
  const TrainerOptions options = config.trainer_options();
  // Going on, all weights come from the run's own checkpoint.
  if (latest || config.model.checkpoint.empty()) return Trainer::from_config(model, seed, options);
  return Trainer::from_checkpoint(config.model.checkpoint, seed, options);
}

}  // namespace

RunEnd train(const TrainConfig& config, const std::string& where, const JobOptions& options,
             RunObserver& observer, const std::function<void(const JobSummary&)>& on_start) {
  config.validate(where);
  validate_schedule(config, where);
  const auto model = DeepseekV3Config::from_file(
      config.model.checkpoint.empty() ? config.model.config : config.model.checkpoint);
  if (config.data.sequence_length > model.max_position_embeddings) {
    fail(
        "{}: data.sequence_length: expected at most the model's max_position_embeddings, {}, found "
        "{}",
        where, model.max_position_embeddings, config.data.sequence_length);
  }
  const WindowReader reader = open_data(config, model, config.data.train, config.data.shuffle);
  RunData data{.train = [&](int64_t number) { return reader.window(number); }};
  if (!config.data.valid.empty()) {
    const WindowReader valid = open_data(config, model, config.data.valid, false);
    const int64_t count = std::min(valid.windows_per_epoch(), config.validation.windows);
    for (int64_t i = 0; i < count; ++i) data.valid.push_back(valid.window(i));
  }
  std::optional<RunTokenizer> tokenizer = open_tokenizer(config);
  if (tokenizer) {
    require_tokenizer(config.data.train, tokenizer->tokenizer);
    require_tokenizer(config.data.valid, tokenizer->tokenizer);
  } else {
    observer.on_note("no tokenizer beside the model's config: no samples are written");
  }

  RunFolder folder(config.run);
  RunOptions run;
  run.identity = {{"seed", config.seed},
                  {"data",
                   {{"sequence_length", config.data.sequence_length},
                    {"shuffle", config.data.shuffle},
                    {"tokens", reader.num_tokens()}}},
                  {"model", model_identity(model)}};
  const auto latest = folder.checkpoints().latest();
  // Before anything of the folder is changed.
  if (latest) require_resumable(latest->state, run.identity, config, latest->folder.string());
  for (const std::string& change : folder.take_config(config))
    observer.on_note("changed since the last start: " + change);

  TrainerLearner learner(make_trainer(config, model, latest), std::move(tokenizer));
  const DeepseekV3Config& trained = learner.trainer().config();
  run.mtp_depths = trained.num_nextn_predict_layers;
  const int64_t layers = trained.num_hidden_layers + trained.num_nextn_predict_layers;
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (trained.is_moe_layer(layer)) run.moe_layers.push_back(layer);
  }
  run.flops_per_token = learner.trainer().flops_per_token(config.data.sequence_length);
  run.stop = options.stop;
  if (on_start) {
    on_start({.parameters = learner.trainer().num_parameters(),
              .train_tokens = reader.num_tokens(),
              .windows_per_epoch = reader.windows_per_epoch(),
              .steps = total_steps(config)});
  }
  const bool finished = latest && latest->state.step >= total_steps(config);
  if (options.measure_peak && !finished) run.peak_flops = options.measure_peak();
  return run_training(config, folder, learner, data, run, observer);
}

}  // namespace dsv3::training
