// As base/simd.h, for kernels that multiply 8-bit integers: also AVX-512 as of Ice Lake and Zen 4,
// which has instructions for that (VNNI). To be included instead of it, before Highway's headers.
#pragma once

#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
