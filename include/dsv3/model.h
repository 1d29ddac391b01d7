#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dsv3/cache.h"
#include "dsv3/config.h"
#include "dsv3/tensor.h"

namespace dsv3 {

/// In which type linear weights and embeddings are held. Activations and sums are float32 with all
/// of them.
enum class WeightDType : uint8_t {
  kAsStored,  ///< as in the file, memory-mapped, FP8 blocks included
  kFloat32,   ///< converted when loading
  kBFloat16,  ///< converted when loading (rounds)
};

/// The two equivalent computations of Multi-head Latent Attention; see docs/NUMERICS.md.
enum class AttentionForm : uint8_t {
  kAuto,      ///< for each sequence and call the one with fewer operations
  kAbsorbed,  ///< queries are taken into the latent space
  kExpanded,  ///< keys and values are formed from the latents, tile by tile
};

/// Treatment of the inputs of FP8 linears.
enum class Fp8Mode : uint8_t {
  kWeightOnly,  ///< FP8 weights, float32 activations
  kDynamic,     ///< activations quantised per token and 128 channels before each FP8 linear, as
                ///< DeepSeek's kernels do
};

/// In what precision products with weights are computed; all else is float32. docs/NUMERICS.md says
/// what kFast costs.
enum class Precision : uint8_t {
  kFloat32,  ///< float32 activations: what transformers computes in float32
  kFast,     ///< activations rounded where that is faster: to 8 bits in each 32 channels for
             ///< weights in GGUF's block formats, to bfloat16 for BF16 and FP8 weights if there are
             ///< several tokens and the processor multiplies bfloat16
};

/// Whether weights are copied from the file's pages into huge pages, which are read faster (1.5
/// times in some virtual machines) and belong to the process. Never where memory is short or the
/// system has no such pages.
enum class HugePages : uint8_t {
  kOff,
  kIfQuick,  ///< given up if it turns out to take long: usual is 0.1 s for a gigabyte
  kOn,
};

/// What `from_pretrained` may be told.
struct LoadOptions {
  WeightDType dtype = WeightDType::kAsStored;
  AttentionForm attention = AttentionForm::kAuto;
  Fp8Mode fp8_activations = Fp8Mode::kWeightOnly;
  Precision precision = Precision::kFloat32;  ///< not kFast together with Fp8Mode::kDynamic
  bool load_mtp = false;  ///< also load the multi-token prediction modules
  /// A sequence's results do not depend on its neighbours in a batch, on chunk sizes or on the
  /// number of threads. Always so with kFloat32. Computes with float32 activations, and takes one form of attention for everything
  /// (kAbsorbed unless `attention` says otherwise).
  bool deterministic = false;
  bool lock_memory = false;  ///< keep the weights in memory (mlock); Error where that is not allowed
  HugePages huge_pages = HugePages::kOff;
};

/// The arguments of a forward call, named as in Hugging Face. B: batch, S: new columns, P: columns
/// in the cache.
struct ForwardArgs {
  Tensor input_ids;       ///< int64 [B, S]; exactly one of input_ids and inputs_embeds
  Tensor attention_mask;  ///< int64 [B, P + S], 1 for tokens and 0 for padding; absent: all 1
  Tensor position_ids;  ///< int64 [B, S] or [1, S]; absent: P .. P + S - 1 for every row, whatever
                        ///< the mask
  std::shared_ptr<Cache> past_key_values;
  Tensor inputs_embeds;  ///< float32 [B, S, hidden]
  /// Causal LM and token classification: int64 [B, S], -100 is left out; causal LM shifts them
  /// inside. Sequence classification: int64 [B], or float32 [B] (regression) or [B, num_labels].
  Tensor labels;
  std::optional<bool> use_cache;  ///< absent: config.use_cache
  /// Causal LM: logits for the last n columns only; 0: all.
  int64_t logits_to_keep = 0;
  /// Causal LM: logits for these columns, int64 [n]; takes precedence over the number.
  Tensor logits_to_keep_indices;
  std::optional<bool> output_hidden_states;  ///< absent: the config's
  std::optional<bool> output_attentions;
  /// Causal LM: the loss is the sum over labels divided by this instead of their mean.
  std::optional<double> num_items_in_batch;
};

/// The results of a forward call; what was not asked for is absent. All float32. Rows of padding
/// are zero.
struct ModelOutput {
  Tensor loss;    ///< []
  Tensor logits;  ///< [B, kept, vocab]; sequence classification [B, num_labels]; token [B, S,
                  ///< num_labels]
  Tensor last_hidden_state;  ///< [B, S, hidden], after the final norm
  std::shared_ptr<Cache> past_key_values;
  /// num_hidden_layers + 1 of [B, S, hidden]: the embeddings, the outputs of all layers but the
  /// last, and last_hidden_state.
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;  ///< num_hidden_layers of [B, heads, S, P + S]
};

/// The results of the first multi-token prediction module over a sequence of S tokens (report 2.2).
/// Row i comes from the main model's hidden state i and token i + 1, and predicts token i + 2.
struct MtpOutput {
  Tensor hidden_states;  ///< [B, S - 1, hidden], after shared_head.norm
  Tensor logits;         ///< [B, S - 1, vocab]
  Tensor loss;  ///< [] if labels were given: mean over rows 0 .. S - 3 of the loss for label i + 2
};

namespace model {
struct LoadedModel;
}

/// What the model and its heads have in common: loading, saving, sizes. Objects are cheap to copy
/// and share their weights. forward is const but shares work space: one call at a time per object
/// and thread.
class PreTrainedModel {
 public:
  const DeepseekV3Config& config() const;
  /// Weights of the model, expert weights of all experts included; MTP modules if loaded.
  int64_t num_parameters() const;

  /// Writes config.json, generation_config.json and tokenizer files (copied from where the model
  /// came from), safetensors shards of at most max_shard_bytes with an index, in the official
  /// layout of names. Every file is written under a temporary name, synced and renamed. Tensors
  /// keep the type that they are held in; reloading gives the same bits.
  void save_pretrained(const std::filesystem::path& folder,
                       int64_t max_shard_bytes = 5'000'000'000) const;

  /// The library's own side.
  const model::LoadedModel& loaded() const { return *loaded_; }

 protected:
  explicit PreTrainedModel(std::shared_ptr<const model::LoadedModel> loaded)
      : loaded_(std::move(loaded)) {}
  std::shared_ptr<const model::LoadedModel> loaded_;
};

/// The decoder without a head. Source: DeepseekV3Model.
class DeepseekV3Model : public PreTrainedModel {
 public:
  /// `path`: a folder with config.json and safetensors. Throws Error listing every missing and
  /// wrongly shaped tensor.
  static DeepseekV3Model from_pretrained(const std::filesystem::path& path,
                                         const LoadOptions& options = {});
  ModelOutput forward(const ForwardArgs& args) const;
  using PreTrainedModel::PreTrainedModel;
};

/// With a language-modelling head. Source: DeepseekV3ForCausalLM.
class DeepseekV3ForCausalLM : public PreTrainedModel {
 public:
  static DeepseekV3ForCausalLM from_pretrained(const std::filesystem::path& path,
                                               const LoadOptions& options = {});
  ModelOutput forward(const ForwardArgs& args) const;
  /// The first MTP module over whole sequences, without a cache. `last_hidden_state` is a forward
  /// call's (load with load_mtp). labels, if given, are those of the forward call.
  MtpOutput forward_mtp(const Tensor& input_ids, const Tensor& last_hidden_state,
                        const Tensor& labels = {}) const;
  using PreTrainedModel::PreTrainedModel;
};

/// With a linear head without bias on the last token that is not padding (pad_token_id). Source:
/// GenericForSequenceClassification.
class DeepseekV3ForSequenceClassification : public PreTrainedModel {
 public:
  static DeepseekV3ForSequenceClassification from_pretrained(const std::filesystem::path& path,
                                                             const LoadOptions& options = {});
  ModelOutput forward(const ForwardArgs& args) const;
  using PreTrainedModel::PreTrainedModel;
};

/// With a linear head with bias on every token. Source: GenericForTokenClassification.
class DeepseekV3ForTokenClassification : public PreTrainedModel {
 public:
  static DeepseekV3ForTokenClassification from_pretrained(const std::filesystem::path& path,
                                                          const LoadOptions& options = {});
  ModelOutput forward(const ForwardArgs& args) const;
  using PreTrainedModel::PreTrainedModel;
};

}  // namespace dsv3
