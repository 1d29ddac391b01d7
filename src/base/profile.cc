#include "base/profile.h"

#include <chrono>
#include <thread>

namespace dsv3::profile {
namespace {

struct State {
  std::thread::id thread;  // whose scopes count
  Op current = Op::kOther;
  bool waiting = false;
  int64_t since = 0;
  Times times{};
};
State state;

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void charge() {
  const int64_t time = now();
  const auto op = static_cast<size_t>(state.current);
  state.times.all[op] += time - state.since;
  if (state.waiting) state.times.waiting[op] += time - state.since;
  state.since = time;
}

bool is_measured() {
  return internal::measuring.load(std::memory_order_acquire) &&
         state.thread == std::this_thread::get_id();
}

}  // namespace

std::atomic<bool> internal::measuring{false};

Op internal::enter(Op op) {
  if (!is_measured()) return Op::kOther;
  charge();
  const Op outer = state.current;
  state.current = op;
  return outer;
}

void internal::wait(bool waiting) {
  if (!is_measured()) return;
  charge();
  state.waiting = waiting;
}

void start() {
  state = {.thread = std::this_thread::get_id(), .since = now()};
  internal::measuring.store(true, std::memory_order_release);
}

Times stop() {
  internal::measuring.store(false, std::memory_order_release);
  charge();
  return state.times;
}

std::string_view op_name(Op op) {
  switch (op) {
    case Op::kOther:
      return "other";
    case Op::kEmbedding:
      return "embedding";
    case Op::kNorms:
      return "norms and sums";
    case Op::kQueries:
      return "q projections";
    case Op::kLatents:
      return "kv projection";
    case Op::kAttention:
      return "attention";
    case Op::kOutput:
      return "o projection";
    case Op::kRouter:
      return "router";
    case Op::kGateUp:
      return "gate and up";
    case Op::kDown:
      return "down";
    case Op::kFeedForward:
      return "experts, rest";
    case Op::kHead:
      return "head";
  }
  return "";
}

}  // namespace dsv3::profile
