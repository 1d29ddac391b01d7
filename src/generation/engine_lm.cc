#include "generation/engine_lm.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/profile.h"
#include "dsv3/generation.h"
#include "model/deepseek_v3.h"
#include "model/pretrained.h"

namespace dsv3::generation {
namespace {

class EngineSequence : public SequenceState {
 public:
  explicit EngineSequence(model::LatentCache cache) : cache_(std::move(cache)) {}
  int64_t length() const override { return cache_.length(); }
  std::unique_ptr<SequenceState> clone() const override {
    return std::make_unique<EngineSequence>(cache_);
  }
  void crop(int64_t length) override { cache_.crop(length); }
  model::LatentCache& cache() { return cache_; }

 private:
  model::LatentCache cache_;
};

}  // namespace

EngineLm::EngineLm(DeepseekV3ForCausalLM model, EngineLmOptions options)
    : model_(std::move(model)), options_(options) {}

int64_t EngineLm::vocab_size() const { return model_.config().vocab_size; }

int64_t EngineLm::max_length() const {
  const int64_t trained = model_.config().max_position_embeddings;
  return options_.cache_capacity ? std::min(*options_.cache_capacity, trained) : trained;
}

std::unique_ptr<SequenceState> EngineLm::new_sequence() {
  const DeepseekV3Config& c = model_.config();
  return std::make_unique<EngineSequence>(
      model::LatentCache(c.num_hidden_layers, model::latent_layout(c, options_.cache_dtype),
                         options_.cache_capacity));
}

model::LatentCache& EngineLm::cache_of(SequenceState& state) {
  return static_cast<EngineSequence&>(state).cache();
}

void EngineLm::forward(std::span<const Step> steps, std::span<float> logits) {
  const model::LoadedModel& loaded = model_.loaded();
  const int64_t hidden_size = loaded.config.hidden_size;
  std::vector<model::BatchSequence> sequences;
  std::vector<int64_t> ids, positions, last_rows;
  for (const Step& step : steps) {
    model::LatentCache& cache = cache_of(*step.state);
    sequences.push_back({&cache, static_cast<int64_t>(step.tokens.size())});
    for (size_t i = 0; i < step.tokens.size(); ++i) {
      ids.push_back(step.tokens[i]);
      positions.push_back(cache.length() + static_cast<int64_t>(i));
    }
    last_rows.push_back(static_cast<int64_t>(ids.size()) - 1);
  }

  const auto tokens = static_cast<int64_t>(ids.size()), n = static_cast<int64_t>(steps.size());
  std::vector<float> memory(2 * tokens * hidden_size + n * hidden_size);
  const Matrix x(memory.data(), tokens, hidden_size);
  const Matrix hidden(x.row(tokens), tokens, hidden_size);
  const Matrix last(hidden.row(tokens), n, hidden_size);
  {
    const profile::Scope scope(profile::Op::kEmbedding);
    model::embed_tokens(loaded.weights, ids, x);
  }
  model::forward(loaded.config, loaded.weights, loaded.options,
                 {.sequences = sequences, .positions = positions, .embeddings = x}, hidden,
                 observer_);
  const profile::Scope scope(profile::Op::kHead);
  for (int64_t i = 0; i < n; ++i) std::copy_n(hidden.row(last_rows[i]), hidden_size, last.row(i));
  model::lm_head(loaded.weights.lm_head, loaded.options, last, Matrix(logits.data(), n, vocab_size()));
  for (const float x_i : logits) {
    if (!std::isfinite(x_i)) {
      fail(
          "the model's logits are not finite: there is a NaN, an infinity or an overflow in the "
          "weights "
          "(`dsv3 verify MODEL` names the tensor)");
    }
  }
}

}  // namespace dsv3::generation

namespace dsv3 {

GenerationResult generate(const DeepseekV3ForCausalLM& model, const GenerationRequest& request) {
  generation::EngineLm engine(model);
  return generate(engine, request);
}

std::function<TextDecoder()> text_decoder(const Tokenizer& tokenizer, bool skip_special_tokens) {
  return [tokenizer, skip_special_tokens] {
    auto decoder = std::make_shared<StreamDecoder>(tokenizer, skip_special_tokens);
    return TextDecoder{[decoder](int64_t id) { return decoder->push(id); },
                       [decoder] { return decoder->flush(); }};
  };
}

}  // namespace dsv3
