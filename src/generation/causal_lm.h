#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace dsv3::generation {

/// One sequence's state in the model (its latent cache). Cloning is cheap: pages are shared until
/// one of the copies writes.
class SequenceState {
 public:
  virtual ~SequenceState() = default;
  /// Tokens held.
  virtual int64_t length() const = 0;
  virtual std::unique_ptr<SequenceState> clone() const = 0;
  /// Forgets the tokens from `length` on.
  virtual void crop(int64_t length) = 0;
};

/// New tokens of one sequence in a step. Their positions follow those already held.
struct Step {
  SequenceState* state = nullptr;
  std::span<const int64_t> tokens;  ///< at least one
};

/// What generation needs of a causal language model, so that it can be tested without one.
class CausalLm {
 public:
  virtual ~CausalLm() = default;
  virtual int64_t vocab_size() const = 0;
  /// Most tokens that a sequence can hold.
  virtual int64_t max_length() const = 0;
  virtual std::unique_ptr<SequenceState> new_sequence() = 0;
  /// A new sequence for this prompt. It may hold some of the prompt's first tokens already, as its
  /// length says, but never all of them.
  virtual std::unique_ptr<SequenceState> begin_sequence(std::span<const int64_t> /*prompt*/) {
    return new_sequence();
  }
  /// Runs all steps together as one ragged batch; row i of `logits` [steps, vocab_size] gets the
  /// float32 logits after the last token of steps[i].
  virtual void forward(std::span<const Step> steps, std::span<float> logits) = 0;
};

}  // namespace dsv3::generation
