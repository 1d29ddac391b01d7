#pragma once

#include <cstdint>
#include <span>

#include "dsv3/config.h"
#include "model/activations.h"
#include "model/deepseek_v3.h"
#include "model/weights.h"

// The forward pass backwards: gradients of the weights and of what went in, by hand. Weights are
// F32 or BF16; gradients are a ModelWeights of float32 tensors, which are added to (where embedding
// and head share their memory, their gradients do). Products are computed in the weights' type.
namespace dsv3::model {

/// Gradients of a call of `forward` that kept its activations, which are used up. `sequences` are
/// that call's. `dx` [tokens, hidden]: in, the gradient of last_hidden_state; out, of the
/// embeddings. With balance_token_weight every sequence's balance loss (report equation 17) counts
/// with that times its length; returns the sum of these.
double backward(const DeepseekV3Config& config, const ModelWeights& weights,
                std::span<const BatchSequence> sequences, Activations& kept, Matrix dx,
                double balance_token_weight, ModelWeights& gradients);

/// Gradients of forward_mtp. `dx`: in, the gradient of its hidden_states; out, of `embeddings`.
/// Writes d_previous.
double backward_mtp(const DeepseekV3Config& config, const MtpWeights& module, int64_t module_index,
                    std::span<const BatchSequence> sequences, Activations& kept, Matrix dx,
                    Matrix d_previous, double balance_token_weight, MtpWeights& gradient);

/// The sum over rows with label != -100 of the cross-entropy of head(hidden), and its gradients
/// times `factor`: adds to d_hidden [rows, hidden] and the head's. Logits exist for a part of the
/// rows at a time.
double lm_head_backward(const ops::LinearWeight& head, Matrix hidden,
                        std::span<const int64_t> labels, float factor, Matrix d_hidden,
                        ops::LinearWeight& gradient);
/// The same sum alone.
double lm_head_loss(const ops::LinearWeight& head, Matrix hidden, std::span<const int64_t> labels);

}  // namespace dsv3::model
