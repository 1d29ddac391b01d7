#pragma once

#include <string>
#include <vector>

namespace dsv3::kernels {

/// Names of the instruction-set variants that this processor can run, best first: "amx", "avx512",
/// "avx2", "sse4", "neon", "scalar". "amx" is "avx512" and AMX; "avx512" uses VNNI and BF16 where
/// the processor has them; "scalar" is plain C++, the references where there are some.
std::vector<std::string> available_variants();
/// The same for tests: also "amx_emulated", AMX's tiles in software (amx_tiles.h), slow, where
/// there are none but all else that "amx" needs.
std::vector<std::string> testable_variants();
/// Makes all kernels use one of these variants. "": what the environment variable DSV3_ISA names,
/// if it is set, which is also what holds before any call; "auto": the best. Throws Error if this
/// processor lacks it. Programs call it once at start, tests between kernels; not thread safe.
void force_variant(const std::string& name);
/// The one in use.
std::string current_variant();

/// Instructions that not every processor of a variant has; none that the variant in use leaves out.
struct Features {
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  /// Products of bfloat16 take less time than those of float32: by tiles, and by vectors on AMD's
  /// processors; by Intel's vectors they take twice as long.
  bool fast_bf16 = false;
  bool amx = false;           ///< tiles, with products of bfloat16 and of 8 bits
  bool amx_emulated = false;  ///< the tiles are software
};
const Features& current_features();

}  // namespace dsv3::kernels
