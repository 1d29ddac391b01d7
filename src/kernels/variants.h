#pragma once

#include <string>
#include <vector>

namespace dsv3::kernels {

/// Names of the instruction-set variants that this processor can run, best first: "avx512", "avx2",
/// "sse4", "neon", "scalar".
std::vector<std::string> available_variants();
/// Makes all kernels use one variant ("" or "auto": the best). Throws Error if this processor lacks
/// it. Programs call it once at start, tests between kernels; not thread safe.
void force_variant(const std::string& name);
/// The one in use.
std::string current_variant();

}  // namespace dsv3::kernels
