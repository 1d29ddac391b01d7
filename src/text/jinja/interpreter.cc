#include "text/jinja/interpreter.h"

#include "text/jinja/execution.h"
#include "text/jinja/functions.h"
#include "text/jinja/lexer.h"
#include "text/jinja/parser.h"
#include "text/jinja/resolver.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

// `self`: exists, but blocks are only rendered where they stand.
class Self : public NativeObject {
 public:
  explicit Self(Meter& m) : NativeObject(&m, sizeof(*this)) {}
  std::string_view type_name() const override { return "TemplateReference"; }
  bool truth() const override { return true; }
};

}  // namespace

Interpreter::Interpreter(const Program& program, const Context& context,
                         const TemplateLimits& limits, const std::optional<std::tm>& now)
    : Runtime(limits, now), program_(program) {
  for (const auto& [name, value] : context) variables_[name] = value;
}

// Frames that macros keep, and the macros in their variables, hold each other.
Interpreter::~Interpreter() {
  for (const Ref<Frame>& frame : captured_) {
    std::vector<Value> slots;
    slots.swap(frame->slots);
  }
}

std::string Interpreter::run() {
  Ref<Frame> frame = enter(nullptr, program_.frame);
  if (program_.self_slot >= 0) {
    frame->slots[static_cast<size_t>(program_.self_slot)] = make_object<Self>(meter);
  }
  std::string out;
  out_ = &out;
  execute(program_.body, *frame);
  return out;
}

Ref<Frame> Interpreter::enter(Frame* parent, const FrameLayout& layout) {
  Ref<Frame> frame(new Frame(meter, parent, layout));
  load(*frame, layout);
  return frame;
}

void Interpreter::load(Frame& frame, const FrameLayout& layout) {
  for (const Load& load : layout.loads) {
    Value& slot = frame.slots[static_cast<size_t>(load.slot)];
    switch (load.kind) {
      case Load::kNothing:
        slot = Value();
        break;
      case Load::kResolve:
        slot = lookup(load.name);
        break;
      case Load::kAlias:
        slot = frame[load.outer];
        break;
    }
  }
}

void Interpreter::capture(Frame& frame) {
  for (Frame* f = &frame; f && !f->captured; f = f->parent.get()) {
    f->captured = true;
    captured_.emplace_back(f);
  }
}

Value Interpreter::lookup(const std::string& name) {
  const auto found = variables_.find(name);
  return found != variables_.end() ? found->second : find_global(name);
}

Interpreter::CallDepth::CallDepth(Interpreter& interpreter) : interpreter_(interpreter) {
  const int most = interpreter.meter.limits().max_depth;
  if (interpreter.calls_ >= most) raise("calls nested deeper than {} levels", most);
  ++interpreter.calls_;
}

Program compile(std::string_view source, const TemplateLimits& limits) {
  Program program;
  program.source = normalize_source(source);
  try {
    if (program.source.size() > UINT32_MAX) throw SyntaxFailure{"the template is too long", 0};
    for (size_t at = 0; at < program.source.size();) {
      const Utf8Step step = utf8_step(std::string_view(program.source).substr(at));
      if (step.kind != Utf8Step::kCharacter)
        throw SyntaxFailure{"the template is not valid UTF-8", at};
      at += step.length;
    }
    program.body = parse(program.source, limits.max_depth);
    program.frame = resolve(program.body, program.self_slot);
  } catch (const SyntaxFailure& failure) {
    throw TemplateError(TemplateError::Phase::kParse, failure.message, false, program.source,
                        failure.offset);
  } catch (const Failure& failure) {
    throw TemplateError(TemplateError::Phase::kParse, failure.message, false, program.source, 0);
  }
  return program;
}

std::string render(const Program& program, const Context& context, const TemplateLimits& limits,
                   const std::optional<std::tm>& now) {
  Interpreter interpreter(program, context, limits, now);
  try {
    return interpreter.run();
  } catch (const Failure& failure) {
    throw TemplateError(TemplateError::Phase::kRender, failure.message, failure.raised_by_template,
                        program.source, interpreter.offset());
  }
}

}  // namespace dsv3::jinja