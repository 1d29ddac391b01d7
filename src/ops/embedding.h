#pragma once

#include <cstdint>
#include <span>

#include "ops/linear.h"

namespace dsv3::ops {

/// y[t] = row ids[t] of the table [vocab, hidden], as float32. Throws Error naming an id that is
/// not in it.
void embed(std::span<const int64_t> ids, const LinearWeight& table, Matrix y);

}  // namespace dsv3::ops
