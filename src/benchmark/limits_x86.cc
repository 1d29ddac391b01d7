// Loops that do nothing but the matrix instructions of x86 that Highway's portable vectors do not
// reach. Inline assembly, so that the compiler neither removes nor reorders them.

#include "benchmark/limits.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace dsv3::benchmark {
namespace {

// Sixteen independent sums, more than the latency of two units needs.
#define DSV3_SIXTEEN(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

__attribute__((target("avx512f,avx512bf16"))) void dot_bf16(int64_t n) {
  __m512 s[16];
  const __m512 x = _mm512_setzero_ps();
  for (auto& sum : s) sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; ++i) {
#define DSV3_STEP(k) asm volatile("vdpbf16ps %1, %1, %0" : "+v"(s[k]) : "v"(x));
    DSV3_SIXTEEN(DSV3_STEP)
#undef DSV3_STEP
  }
}

__attribute__((target("avx512f,avx512vnni"))) void dot_int8(int64_t n) {
  __m512i s[16];
  const __m512i x = _mm512_setzero_si512();
  for (auto& sum : s) sum = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; ++i) {
#define DSV3_STEP(k) asm volatile("vpdpbusd %1, %1, %0" : "+v"(s[k]) : "v"(x));
    DSV3_SIXTEEN(DSV3_STEP)
#undef DSV3_STEP
  }
}

// Eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// A constant, because GCC's intrinsic does not tell the compiler that all of it is read.
constexpr TileConfig kTileConfig;

// Two tiles of A times two of B into four sums, as a matrix product has it.
__attribute__((target("amx-tile,amx-bf16"))) void amx_bf16(int64_t n) {
  _tile_loadconfig(&kTileConfig);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < n; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

__attribute__((target("amx-tile,amx-int8"))) void amx_int8(int64_t n) {
  _tile_loadconfig(&kTileConfig);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < n; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
}

struct Features {
  bool bf16 = false, vnni = false, amx_bf16 = false, amx_int8 = false;
};

Features features() {
  Features f;
  if (!__builtin_cpu_supports("avx512f")) return f;
  f.vnni = __builtin_cpu_supports("avx512vnni");
  f.bf16 = __builtin_cpu_supports("avx512bf16");
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return f;
  const bool tiles = (d >> 24 & 1) != 0;
  // Linux gives the tiles only to processes that have asked (arch_prctl(2), ARCH_REQ_XCOMP_PERM for
  // XFEATURE_XTILEDATA); threads inherit the permission, also those that are there already.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  if (!tiles || syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return f;
  f.amx_bf16 = (d >> 22 & 1) != 0;
  f.amx_int8 = (d >> 25 & 1) != 0;
  return f;
}

}  // namespace

std::vector<PeakLoop> x86_peak_loops() {
  static const Features has = features();
  std::vector<PeakLoop> loops;
  constexpr double kTileProducts = 4 * 2 * 16 * 16;  // operations for one element of K
  if (has.bf16) loops.push_back({"AVX-512 bf16", false, 16 * 64, dot_bf16});
  if (has.vnni) loops.push_back({"AVX-512 VNNI int8", true, 16 * 128, dot_int8});
  if (has.amx_bf16) loops.push_back({"AMX bf16", false, kTileProducts * 32, amx_bf16});
  if (has.amx_int8) loops.push_back({"AMX int8", true, kTileProducts * 64, amx_int8});
  return loops;
}

}  // namespace dsv3::benchmark

#else

namespace dsv3::benchmark {
std::vector<PeakLoop> x86_peak_loops() { return {}; }
}  // namespace dsv3::benchmark

#endif
