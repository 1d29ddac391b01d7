#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/deepseek_v3.h"
#include "model/pretrained.h"
#include "quantization/imatrix.h"

namespace dsv3::quantization {

struct CollectOptions {
  /// Also for the output head, which llama.cpp leaves out by default: it is quantised finely.
  bool output = false;
};

/// Called as a forward pass comes to a layer.
using LayerProgress = std::function<void(int64_t layer)>;

/// Runs a causal LM over texts and sums the squares of what goes into each of its weights: the
/// linears of all layers and the router; of routed experts, the tokens that were routed to them; of
/// kv_b_proj both the whole (attn_kv_b) and its halves (attn_k_b, attn_v_b, each head by itself),
/// so that the result serves whichever is written. MTP modules too, if they are loaded. Sums are
/// float64 and go over the tokens in their order, whatever the number of threads.
class ImportanceCollector {
 public:
  /// Shares the model's memory.
  explicit ImportanceCollector(const model::LoadedModel& model, CollectOptions options = {});
  ImportanceCollector(const ImportanceCollector&) = delete;
  ImportanceCollector& operator=(const ImportanceCollector&) = delete;

  /// One forward pass over fresh sequences of at least one token each. Throws Error for ids outside
  /// of the vocabulary and numbers that are not finite; the sums are then of no use.
  void run(std::span<const std::span<const int64_t>> sequences, const LayerProgress& progress = {});

  /// All tensors, those without tokens too; chunks and datasets are the caller's.
  ImportanceMatrix& matrix() { return matrix_; }
  const ImportanceMatrix& matrix() const { return matrix_; }

 private:
  // Where the inputs of a weight are counted.
  struct Place {
    const std::string* name;
    InputSquares* squares;
    int64_t matrix;  // its number among the tensor's
  };
  struct LatentUpPlaces {
    Place whole, k_b, v_b;
  };

  Place add_tensor(const std::string& name, int64_t in, int64_t matrices, int64_t counts);
  void add_slot(const model::TensorSlot& slot);
  void record(const Place& place, Matrix x, std::span<const int32_t> rows) const;
  void record_heads(const Place& place, Matrix x, int64_t head_stride, int64_t in) const;
  void run_mtp(std::span<const std::span<const int64_t>> sequences, Matrix hidden);

  DeepseekV3Config config_;
  model::ModelWeights weights_;
  model::ComputeOptions options_;
  bool output_;
  ImportanceMatrix matrix_;
  std::unordered_map<const ops::LinearWeight*, Place> places_;
  std::unordered_map<const ops::LatentUpProjection*, LatentUpPlaces> latent_up_places_;
  model::ForwardObserver observer_;
};

/// Pieces of exactly `size` tokens, one after the other; what is left over at the end is not used,
/// but a text shorter than that is one piece. As in llama-imatrix, the first token of each piece is
/// replaced by `bos`, if there is one, for models are used to see it there.
std::vector<std::vector<int64_t>> cut_into_chunks(std::span<const int64_t> ids, int64_t size,
                                                  std::optional<int64_t> bos);

}  // namespace dsv3::quantization
