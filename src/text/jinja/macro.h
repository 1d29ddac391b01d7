#pragma once

#include "text/jinja/execution.h"

namespace dsv3::jinja {

/// A macro, or the body of a call block.
class Macro : public NativeObject {
 public:
  Macro(Interpreter& interpreter, const MacroBody& body, Frame& closure);
  std::string_view type_name() const override { return "Macro"; }
  std::string repr(Runtime&) const override;
  bool attribute(Runtime& runtime, std::string_view name, Value& out) override;
  bool callable() const override { return true; }
  bool truth() const override { return true; }
  Value call(Runtime& runtime, Arguments& arguments) override;

 private:
  void bind(Arguments& arguments, Frame& frame);

  Interpreter& interpreter_;
  const MacroBody& body_;
  Ref<Frame> closure_;
};

}  // namespace dsv3::jinja
