#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/test_files.h"
#include "dsv3/model.h"
#include "formats/convert.h"
#include "model/weights.h"

// Small models and calls for the tests of this folder.
namespace dsv3 {

/// A model of the goldens.
inline std::filesystem::path golden_model(const std::string& name) {
  return std::filesystem::path(DSV3_SOURCE_DIR) / "tests/golden" / name / "model";
}

/// The smallest shape that still has everything: groups, a dense layer, both low ranks.
inline DeepseekV3Config tiny_config() {
  DeepseekV3Config c;
  c.vocab_size = 50;
  c.hidden_size = 24;
  c.intermediate_size = 20;
  c.moe_intermediate_size = 10;
  c.num_hidden_layers = 2;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.n_routed_experts = 6;
  c.n_group = 3;
  c.topk_group = 2;
  c.num_experts_per_tok = 2;
  c.first_k_dense_replace = 1;
  c.q_lora_rank = 10;
  c.kv_lora_rank = 12;
  c.qk_nope_head_dim = 6;
  c.qk_rope_head_dim = 4;
  c.v_head_dim = 5;
  c.max_position_embeddings = 128;
  return c;
}

/// A checkpoint with random weights, which a test may spoil before it is written.
struct TestCheckpoint {
  DeepseekV3Config config;
  std::map<std::string, Tensor> tensors;

  explicit TestCheckpoint(const DeepseekV3Config& c, model::Head head = model::Head::kCausalLm,
                          bool mtp = false, uint32_t seed = 1)
      : config(c) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    model::ModelWeights weights;
    for (const auto& slot : model::enumerate_tensors(c, head, mtp, weights)) {
      Tensor t = Tensor::empty(DType::kF32, slot.shape);
      const bool is_matrix = slot.shape.size() == 2;
      const float deviation = is_matrix ? 1 / std::sqrt(static_cast<float>(slot.shape[1])) : 0.1f;
      const float mean = slot.role == model::TensorRole::kNorm ? 1.0f : 0.0f;
      for (float& x : t.as_mutable<float>()) x = mean + deviation * normal(random);
      tensors[slot.name] = t;
    }
  }

  void convert_matrices(DType dtype) {
    for (auto& [name, t] : tensors) {
      if (t.rank() == 2) t = formats::convert(t, dtype);
    }
  }

  /// The experts of a layer as transformers packs them in memory.
  void pack_experts(int64_t layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.experts.";
    std::vector<float> gate_up, down;
    for (int64_t e = 0; e < config.n_routed_experts; ++e) {
      for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        const auto node =
            tensors.extract(prefix + std::to_string(e) + "." + projection + ".weight");
        const auto values = node.mapped().as<float>();
        auto& to = std::string_view(projection) == "down_proj" ? down : gate_up;
        to.insert(to.end(), values.begin(), values.end());
      }
    }
    tensors[prefix + "gate_up_proj"] = Tensor::from(
        std::span<const float>(gate_up),
        {config.n_routed_experts, 2 * config.moe_intermediate_size, config.hidden_size});
    tensors[prefix + "down_proj"] =
        Tensor::from(std::span<const float>(down),
                     {config.n_routed_experts, config.hidden_size, config.moe_intermediate_size});
  }

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    write_file_atomically(folder / "config.json", config.to_json());
    std::vector<NamedTensor> named;
    for (const auto& [name, t] : tensors) named.push_back({name, t});
    save_checkpoint(folder, named);
  }
};

/// Writes and loads; the files go away when it returns (mapped weights stay).
template <typename Model = DeepseekV3ForCausalLM>
Model load(const TestCheckpoint& checkpoint, const LoadOptions& options = {}) {
  const TemporaryFolder folder;
  checkpoint.write(folder.path());
  return Model::from_pretrained(folder.path(), options);
}

inline std::vector<int64_t> random_ids(int64_t n, int64_t vocab_size, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<int64_t> ids(n);
  for (int64_t& id : ids) id = static_cast<int64_t>(random() % static_cast<uint32_t>(vocab_size));
  return ids;
}

/// int64 [rows, columns], and [1, columns].
inline Tensor id_rows(const std::vector<std::vector<int64_t>>& rows) {
  std::vector<int64_t> flat;
  for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return Tensor::from(std::span<const int64_t>(flat),
                      {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())});
}
inline Tensor id_row(const std::vector<int64_t>& row) {
  return id_rows(std::vector<std::vector<int64_t>>{row});
}

/// The numbers of one column of [batch, columns, width].
inline std::vector<float> column_of(const Tensor& t, int64_t row, int64_t column) {
  const auto values = t.as<float>().subspan((row * t.dim(1) + column) * t.dim(2), t.dim(2));
  return {values.begin(), values.end()};
}

/// Largest difference of two equally long lists; NaN if there is one.
inline double difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double d = std::fabs(double{a[i]} - b[i]);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

/// Runs with so many threads until the end of the scope.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) { set_num_threads(threads); }
  ~ThreadCount() { set_num_threads(0); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;
};

}  // namespace dsv3
