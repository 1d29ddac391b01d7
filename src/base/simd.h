// The vector instruction sets that kernels are compiled for; to be included before Highway's
// headers.
//
// A kernel file is compiled once for each of SSE4, AVX2 (with FMA) and AVX-512 on x86, NEON on ARM,
// and for plain C++; the best one that the processor has is chosen at run time. Left out: what no
// current server or laptop is limited to, and sub-variants of AVX-512 that change nothing in these
// kernels.
#pragma once

#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
