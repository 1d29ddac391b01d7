#include "generation/prefix_reuse.h"

#include <algorithm>
#include <utility>

namespace dsv3::generation {

// A sequence of the inner model, and the tokens it holds. When it ends, the model keeps it.
class PrefixReusingLm::State : public SequenceState {
 public:
  State(PrefixReusingLm& owner, std::unique_ptr<SequenceState> inner, std::vector<int64_t> tokens)
      : owner_(owner), inner_(std::move(inner)), tokens_(std::move(tokens)) {}
  ~State() override {
    if (tokens_.empty()) return;
    owner_.kept_ = std::move(inner_);
    owner_.kept_tokens_ = std::move(tokens_);
  }

  int64_t length() const override { return static_cast<int64_t>(tokens_.size()); }
  std::unique_ptr<SequenceState> clone() const override {
    return std::make_unique<State>(owner_, inner_->clone(), tokens_);
  }
  void crop(int64_t length) override {
    inner_->crop(length);
    tokens_.resize(static_cast<size_t>(length));
  }

  SequenceState& inner() { return *inner_; }
  void append(std::span<const int64_t> tokens) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }

 private:
  PrefixReusingLm& owner_;
  std::unique_ptr<SequenceState> inner_;
  std::vector<int64_t> tokens_;
};

std::unique_ptr<SequenceState> PrefixReusingLm::new_sequence() {
  return std::make_unique<State>(*this, model_.new_sequence(), std::vector<int64_t>());
}

std::unique_ptr<SequenceState> PrefixReusingLm::begin_sequence(std::span<const int64_t> prompt) {
  const auto same = static_cast<size_t>(
      std::mismatch(kept_tokens_.begin(), kept_tokens_.end(), prompt.begin(), prompt.end()).first -
      kept_tokens_.begin());
  // The last token has to be computed, for its logits.
  const size_t taken = std::min(same, prompt.size() - 1);
  if (taken == 0 || kept_ == nullptr) return new_sequence();
  kept_->crop(static_cast<int64_t>(taken));
  kept_tokens_.resize(taken);
  reused_tokens_ += static_cast<int64_t>(taken);
  return std::make_unique<State>(*this, std::move(kept_), std::exchange(kept_tokens_, {}));
}

void PrefixReusingLm::forward(std::span<const Step> steps, std::span<float> logits) {
  std::vector<Step> inner;
  for (const Step& step : steps) {
    inner.push_back({&static_cast<State*>(step.state)->inner(), step.tokens});
  }
  model_.forward(inner, logits);
  for (const Step& step : steps) static_cast<State*>(step.state)->append(step.tokens);
}

}  // namespace dsv3::generation
