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

  // Lets the remembered sequence stand in for as many of the next tokens as it has, but the last,
  // whose logits may be wanted. Returns how many.
  size_t reuse(std::span<const int64_t> next) {
    const auto& kept = owner_.kept_tokens_;
    if (!follows_kept_ || kept.size() <= tokens_.size()) return 0;
    const auto begin = kept.begin() + length();
    const auto same = static_cast<size_t>(
        std::mismatch(begin, kept.end(), next.begin(), next.end()).first - begin);
    follows_kept_ = same == next.size();
    const size_t taken = std::min(same, next.size() - 1);
    if (taken == 0) return 0;
    inner_ = owner_.kept_->clone();
    inner_->crop(length() + static_cast<int64_t>(taken));
    return taken;
  }

  SequenceState& inner() { return *inner_; }
  void append(std::span<const int64_t> tokens) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }

 private:
  PrefixReusingLm& owner_;
  std::unique_ptr<SequenceState> inner_;
  std::vector<int64_t> tokens_;
  bool follows_kept_ = true;  // all tokens so far are those of the remembered sequence
};

std::unique_ptr<SequenceState> PrefixReusingLm::new_sequence() {
  return std::make_unique<State>(*this, model_.new_sequence(), std::vector<int64_t>());
}

void PrefixReusingLm::forward(std::span<const Step> steps, std::span<float> logits) {
  std::vector<Step> inner;
  for (const Step& step : steps) {
    auto& state = static_cast<State&>(*step.state);
    const size_t taken = state.reuse(step.tokens);
    reused_tokens_ += static_cast<int64_t>(taken);
    inner.push_back({&state.inner(), step.tokens.subspan(taken)});
  }
  model_.forward(inner, logits);
  for (const Step& step : steps) static_cast<State&>(*step.state).append(step.tokens);
}

}  // namespace dsv3::generation
