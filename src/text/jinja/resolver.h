#pragma once

#include "text/jinja/ast.h"

namespace dsv3::jinja {

/// Gives each variable its place, and each filter and test its function, as Jinja's compiler does:
/// before anything runs. A name that a block assigns anywhere belongs to that block's frame from
/// its start on, with the outer value until it is assigned. Throws SyntaxFailure for what the
/// compiler refuses: unknown filters and tests (except in an `if`, where they fail when reached),
/// break outside of loops, assignments to `loop`. Returns the layout of the outermost frame; the
/// slot of `self`, if it is used, in `self_slot`.
FrameLayout resolve(Body& body, int& self_slot);

}  // namespace dsv3::jinja
