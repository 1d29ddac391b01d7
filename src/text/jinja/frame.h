#pragma once

#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace dsv3::jinja {

/// The variables of a body while it runs. Macros keep the frame that they were defined in.
struct Frame : Object {
  Frame(Meter& m, Frame* outer, const FrameLayout& layout)
      : Object(&m, sizeof(Frame) + static_cast<size_t>(layout.slots) * sizeof(Value)),
        parent(outer),
        slots(static_cast<size_t>(layout.slots)) {}
  Value& operator[](const Variable& v) {
    Frame* f = this;
    for (int up = v.up; up > 0; --up) f = f->parent.get();
    return f->slots[static_cast<size_t>(v.slot)];
  }

  Ref<Frame> parent;
  std::vector<Value> slots;
  bool captured = false;  // by a macro; the Interpreter sees to its end
};

}  // namespace dsv3::jinja
