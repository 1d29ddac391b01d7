#pragma once

#include <string>

#include "quantization/imatrix.h"

// What an importance matrix says, for people to read.
namespace dsv3::cli {

/// Chunks, tensors, and the experts that saw few tokens or none.
std::string importance_summary(const quantization::ImportanceMatrix& matrix);

/// A line for each tensor, below a line of titles.
std::string importance_table(const quantization::ImportanceMatrix& matrix);

}  // namespace dsv3::cli
