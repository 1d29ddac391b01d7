#include "text/jinja/loop.h"

namespace dsv3::jinja {
namespace {

// loop.cycle and loop.changed.
class LoopFunction : public NativeObject {
 public:
  LoopFunction(Meter& m, const Value& loop, bool cycle)
      : NativeObject(&m, sizeof(*this)), loop_(loop), cycle_(cycle) {}
  std::string_view type_name() const override { return "method"; }
  std::string repr(Runtime& runtime) const override {
    return fmt::format("<bound method LoopContext.{} of {}>", cycle_ ? "cycle" : "changed",
                       loop_.native().repr(runtime));
  }
  bool callable() const override { return true; }
  bool truth() const override { return true; }
  Value call(Runtime& runtime, Arguments& arguments) override {
    auto& loop = static_cast<Loop&>(loop_.native());
    return cycle_ ? loop.cycle(arguments) : Value(loop.changed(runtime, arguments));
  }

 private:
  Value loop_;
  bool cycle_;
};

}  // namespace

Loop::Loop(Interpreter& interpreter, const ForStatement& node, Frame& frame, const Value& iterable,
           int64_t depth0)
    : NativeObject(&interpreter.meter, sizeof(*this)),
      interpreter_(interpreter),
      node_(node),
      frame_(&frame),
      items_(interpreter, iterable),
      depth0_(depth0) {
  if (!node.test) total_ = static_cast<int64_t>(items_.size());
}

bool Loop::produce(Value& out) {
  if (ready_at_ < ready_.size()) {
    out = std::move(ready_[ready_at_++]);
    return true;
  }
  while (at_ < items_.size()) {
    const Value& item = items_[at_++];
    if (node_.test && !interpreter_.passes(node_, item, *frame_)) continue;
    out = item;
    return true;
  }
  return false;
}

bool Loop::peek() { return !next_.is_missing() || produce(next_); }

bool Loop::advance() {
  Value item = std::exchange(next_, Value());
  if (item.is_missing() && !produce(item)) return false;
  ++index0_;
  previous_ = std::exchange(current_, std::move(item));
  return true;
}

int64_t Loop::total() {
  if (total_ >= 0) return total_;
  std::vector<Value> rest;
  for (Value v; produce(v);) rest.push_back(std::move(v));
  total_ = index0_ + 1 + static_cast<int64_t>(rest.size()) + !next_.is_missing();
  ready_ = std::move(rest);
  ready_at_ = 0;
  return total_;
}

void Loop::finish() {
  if (total_ < 0) total_ = index0_ + 1;
  items_.clear();
  ready_.clear();
  at_ = ready_at_ = 0;
  previous_ = current_ = next_ = last_changed_ = Value();
  frame_ = nullptr;
}

bool Loop::attribute(Runtime& runtime, std::string_view name, Value& out) {
  const auto item = [&](bool exists, const Value& v, const char* why) {
    out = exists && !v.is_missing() ? v : runtime.undefined(why);
  };
  if (name == "index")
    out = Value(index0_ + 1);
  else if (name == "index0")
    out = Value(index0_);
  else if (name == "first")
    out = Value(index0_ == 0);
  else if (name == "last")
    out = Value(!peek());
  else if (name == "length")
    out = Value(total());
  else if (name == "revindex")
    out = Value(total() - index0_);
  else if (name == "revindex0")
    out = Value(total() - index0_ - 1);
  else if (name == "depth")
    out = Value(depth0_ + 1);
  else if (name == "depth0")
    out = Value(depth0_);
  else if (name == "previtem")
    item(index0_ > 0, previous_, "there is no previous item");
  else if (name == "nextitem")
    item(peek(), next_, "there is no next item");
  else if (name == "cycle")
    out = make_object<LoopFunction>(runtime.meter, Value(Kind::kObject, this), true);
  else if (name == "changed")
    out = make_object<LoopFunction>(runtime.meter, Value(Kind::kObject, this), false);
  else
    return false;
  return true;
}

Value Loop::cycle(const Arguments& arguments) const {
  if (arguments.positional.empty()) raise("no items for cycling given");
  return arguments.positional[static_cast<size_t>(index0_) % arguments.positional.size()];
}

bool Loop::changed(Runtime& runtime, const Arguments& arguments) {
  if (!frame_) raise("the loop has ended");
  const Value now = runtime.tuple(arguments.positional);
  if (!last_changed_.is_missing() && equal(now, last_changed_, runtime.meter)) return false;
  last_changed_ = now;
  return true;
}

Value Loop::call(Runtime&, Arguments& arguments) {
  if (!node_.recursive) raise("the loop must be marked 'recursive' to be called");
  if (!frame_) raise("the loop has ended");
  const std::vector<Value> args = bind_arguments("loop", arguments, {"iterable"}, 1);
  return interpreter_.recurse(node_, args[0], *frame_, depth0_ + 1);
}

}  // namespace dsv3::jinja
