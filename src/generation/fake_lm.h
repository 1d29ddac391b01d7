#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "generation/causal_lm.h"

/// A model for tests whose logits are a hash of all tokens so far: the one of
/// testdata/make_reference.py.
namespace dsv3::generation {

inline uint64_t fake_mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// Float32 exactly, in [-4, 4).
inline void fake_logits(std::span<const int64_t> history, std::span<float> logits) {
  uint64_t h = 0;
  for (const int64_t token : history)
    h = fake_mix(h + static_cast<uint64_t>(token + 1) * 0x9E3779B97F4A7C15u);
  for (size_t v = 0; v < logits.size(); ++v) {
    const uint64_t bits = fake_mix(h + v * 0xD1B54A32D192ED03u) >> 40;
    logits[v] = static_cast<float>(static_cast<double>(bits) * 0x1.0p-21 - 4.0);
  }
}

class FakeState : public SequenceState {
 public:
  explicit FakeState(int64_t* alive) : alive_(alive) { ++*alive_; }
  FakeState(const FakeState& other) : tokens(other.tokens), alive_(other.alive_) { ++*alive_; }
  ~FakeState() override { --*alive_; }
  int64_t length() const override { return static_cast<int64_t>(tokens.size()); }
  std::unique_ptr<SequenceState> clone() const override {
    return std::make_unique<FakeState>(*this);
  }
  void crop(int64_t length) override { tokens.resize(static_cast<size_t>(length)); }
  std::vector<int64_t> tokens;

 private:
  int64_t* alive_;
};

class FakeLm : public CausalLm {
 public:
  explicit FakeLm(int64_t vocab_size = 24, int64_t max_length = 1000)
      : vocab_size_(vocab_size), max_length_(max_length) {}
  int64_t vocab_size() const override { return vocab_size_; }
  int64_t max_length() const override { return max_length_; }
  std::unique_ptr<SequenceState> new_sequence() override {
    return std::make_unique<FakeState>(&alive);
  }

  void forward(std::span<const Step> steps, std::span<float> logits) override {
    const size_t vocab = static_cast<size_t>(vocab_size_);
    int64_t tokens = 0;
    for (size_t i = 0; i < steps.size(); ++i) {
      auto& state = static_cast<FakeState&>(*steps[i].state);
      state.tokens.insert(state.tokens.end(), steps[i].tokens.begin(), steps[i].tokens.end());
      tokens += static_cast<int64_t>(steps[i].tokens.size());
      longest = std::max(longest, state.length());
      row_logits(state.tokens, logits.subspan(i * vocab, vocab));
    }
    step_tokens.push_back(tokens);
    step_sequences.push_back(static_cast<int64_t>(steps.size()));
  }

  /// What the tests look at.
  std::vector<int64_t> step_tokens;     ///< of each forward pass
  std::vector<int64_t> step_sequences;  ///< of each forward pass
  int64_t longest = 0;                  ///< tokens in a state, at most
  int64_t alive = 0;                    ///< states that exist

 protected:
  virtual void row_logits(std::span<const int64_t> history, std::span<float> logits) {
    fake_logits(history, logits);
  }

 private:
  int64_t vocab_size_, max_length_;
};

}  // namespace dsv3::generation
