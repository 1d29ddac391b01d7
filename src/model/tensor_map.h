#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/gguf_names.h"
#include "model/weights.h"

namespace dsv3::model {

/// Where one of the model's tensors is found in a checkpoint.
struct TensorSource {
  TensorSlot slot;
  std::string name;  ///< in the checkpoint; "" for an optional tensor that it does not have, and
                     ///< for kv_b_proj in halves
  std::optional<GgufKvHalves> halves;  ///< of kv_b_proj
  std::string scale_name;              ///< of the FP8 scales, or ""
  /// Expert weights packed as [experts, rows, cols] (transformers 5, GGUF): which expert and which
  /// of its rows.
  std::optional<int64_t> expert;
  std::pair<int64_t, int64_t> rows = {0, 0};
};

/// How a checkpoint and a model fit.
struct TensorMap {
  std::vector<TensorSource> sources;
  std::vector<std::string> missing;     ///< names
  std::vector<std::string> mismatched;  ///< "name: expected ..., found ..."
  std::vector<std::string> unexpected;  ///< names in the checkpoint that belong to nothing

  bool loadable() const { return missing.empty() && mismatched.empty(); }
  /// All of the above as one text; long lists are cut after some tens of names.
  std::string report() const;
};

/// Finds every tensor of the model: official names, names without "model." (files of a bare model),
/// experts packed as `mlp.experts.gate_up_proj` and `mlp.experts.down_proj`, FP8 scales as
/// `<name>_scale_inv`; in GGUF files by their names there. Reads headers only. What another head or
/// a module that was not asked for owns (lm_head, score, MTP layers, rotary tables) is not
/// unexpected.
TensorMap map_tensors(const DeepseekV3Config& config, Head head, bool mtp,
                      const Checkpoint& checkpoint, ModelWeights& weights);

/// Whether a checkpoint holds weights of the MTP modules: configurations often say that there are
/// some where a conversion has dropped them.
bool has_mtp_weights(const DeepseekV3Config& config, const Checkpoint& checkpoint);

}  // namespace dsv3::model
