// Where the time of a forward pass goes: scopes around operators, which cost a load and a branch
// while nobody measures.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace dsv3::profile {

enum class Op : uint8_t {
  kOther,  ///< what no scope covers
  kEmbedding,
  kNorms,        ///< and the sums after attention and feed-forward
  kQueries,      ///< q_a_proj, q_b_proj and what is between and after
  kLatents,      ///< kv_a_proj_with_mqa and into the cache
  kAttention,    ///< kv_b_proj, scores, softmax, values
  kOutput,       ///< o_proj
  kRouter,       ///< logits and choice
  kGateUp,       ///< of dense layers and experts, SwiGLU included
  kDown,         ///< of dense layers and experts, the weighted sum included
  kFeedForward,  ///< what is left of feed-forward networks: sorting tokens by expert
  kHead,
  kWait,  ///< the calling thread has no task left and waits for the others
};
inline constexpr int kOps = static_cast<int>(Op::kWait) + 1;
/// "attention", for people.
std::string_view op_name(Op op);

/// Nanoseconds by operator. A scope's time is without that of the scopes inside it.
using Times = std::array<int64_t, kOps>;

/// Begins to measure the calling thread, from zero. One thread at a time.
void start();
/// Ends it; the sum of the times is what has passed.
Times stop();

namespace internal {
extern std::atomic<bool> measuring;
/// From now on time belongs to `op`; returns what it belonged to.
Op enter(Op op);
}  // namespace internal

class Scope {
 public:
  explicit Scope(Op op) : on_(internal::measuring.load(std::memory_order_relaxed)) {
    if (on_) outer_ = internal::enter(op);
  }
  ~Scope() {
    if (on_) internal::enter(outer_);
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  bool on_;
  Op outer_ = Op::kOther;
};

}  // namespace dsv3::profile
