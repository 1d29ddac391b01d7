#pragma once

#include <cstdint>
#include <span>

#include "ops/linear.h"

namespace dsv3::ops {

/// y[t] = row ids[t] of the table [vocab, hidden], as float32. Throws Error naming an id that is
/// not in it.
void embed(std::span<const int64_t> ids, const LinearWeight& table, Matrix y);

/// Adds dy[t] to row ids[t] of the table's gradient (float32). `padding_id`'s row gets nothing: it
/// is torch's padding_idx. -1: there is none.
void embed_backward(std::span<const int64_t> ids, Matrix dy, int64_t padding_id,
                    LinearWeight& gradient);

}  // namespace dsv3::ops
