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
};
inline constexpr int kOps = static_cast<int>(Op::kHead) + 1;
/// "attention", for people.
std::string_view op_name(Op op);

/// Nanoseconds by operator. A scope's time is without that of the scopes inside it.
struct Times {
  std::array<int64_t, kOps> all{};
  /// Of these, those in which the measuring thread had no task left and waited for the others.
  std::array<int64_t, kOps> waiting{};

  int64_t of(Op op) const { return all[static_cast<size_t>(op)]; }
  int64_t waiting_in(Op op) const { return waiting[static_cast<size_t>(op)]; }
};

/// Begins to measure the calling thread, from zero. One thread at a time.
void start();
/// Ends it; the sum of the times is what has passed.
Times stop();

namespace internal {
extern std::atomic<bool> measuring;
/// From now on time belongs to `op`; returns what it belonged to.
Op enter(Op op);
/// From now on time is spent waiting, or no longer.
void wait(bool waiting);
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

/// The wait for other threads, inside a scope of an operator.
class Waiting {
 public:
  Waiting() : on_(internal::measuring.load(std::memory_order_relaxed)) {
    if (on_) internal::wait(true);
  }
  ~Waiting() {
    if (on_) internal::wait(false);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  bool on_;
};

}  // namespace dsv3::profile
