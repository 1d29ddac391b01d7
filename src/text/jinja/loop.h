#pragma once

#include <vector>

#include "text/jinja/execution.h"

namespace dsv3::jinja {

/// The variable `loop`. Items come lazily, since a test of the loop is evaluated just before its
/// item is needed, and may depend on what the body did before.
class Loop : public NativeObject {
 public:
  Loop(Interpreter& interpreter, const ForStatement& node, Frame& frame, const Value& iterable,
       int64_t depth0);
  /// Goes to the next item; false at the end.
  bool advance();
  const Value& current() const { return current_; }
  /// When the loop has ended: it may be kept in a namespace, where it must not hold values.
  void finish();

  std::string_view type_name() const override { return "LoopContext"; }
  std::string repr(Runtime&) const override {
    return fmt::format("<LoopContext {}/{}>", index0_ + 1, length());
  }
  bool attribute(Runtime& runtime, std::string_view name, Value& out) override;
  bool callable() const override { return true; }
  int64_t length() const override { return const_cast<Loop*>(this)->total(); }
  Value call(Runtime& runtime, Arguments& arguments) override;
  Value cycle(const Arguments& arguments) const;
  bool changed(Runtime& runtime, const Arguments& arguments);

 private:
  /// Whether there is a next item.
  bool peek();
  /// The next item that passes the test; false at the end.
  bool produce(Value& out);
  int64_t total();

  Interpreter& interpreter_;
  const ForStatement& node_;
  Frame* frame_;  // around the loop; null when it has ended
  Items items_;
  size_t at_ = 0;
  std::vector<Value> ready_;  // passed the test already, when the length was asked for
  size_t ready_at_ = 0;
  int64_t index0_ = -1, depth0_, total_ = -1;
  Value previous_, current_, next_, last_changed_;
};

}  // namespace dsv3::jinja
