#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/error.h"
#include "formats/float_formats.h"
#include "kernels/amx_tiles.h"
#include "kernels/attention/attention.h"
#include "kernels/simd.h"
#include "kernels/transpose16.h"
#include "kernels/variants.h"
//
#include "hwy/highway.h"

namespace dsv3::kernels {
namespace {

// A group's queries, in words:
//   codes    [code_stride / 4][kLanes] of four int8
//   scales   [groups][kLanes] float32
//   offsets  [groups][kLanes] int32: what the 128 in the codes of keys adds, negated
//   rope     [rope_stride / 2][kLanes] of two bf16
struct PackedQueries {
  int64_t scales, offsets, rope, end;

  explicit PackedQueries(const LatentLayout& layout)
      : scales(layout.code_stride() / 4 * kLanes),
        offsets(scales + layout.groups() * kLanes),
        rope(offsets + layout.groups() * kLanes),
        end(rope + layout.rope_stride() / 2 * kLanes) {}
};

}  // namespace

bool has_attention_i8(const LatentLayout& layout) {
  return layout.rank <= kMaxRankI8 && current_features().avx512_vnni &&
         current_features().avx512_bf16;
}

int64_t packed_words_i8(const LatentLayout& layout) { return PackedQueries(layout).end; }

}  // namespace dsv3::kernels

#if HWY_ARCH_X86
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of its own _mm512_undefined_* (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

// Early, so that arrays of vectors become registers.
#if defined(__clang__)
#define DSV3_UNROLL _Pragma("unroll")
#else
#define DSV3_UNROLL _Pragma("GCC unroll 16")
#endif

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
namespace dsv3::kernels {
namespace {

constexpr int64_t kGroup = LatentLayout::kGroup, kMaxGroups = kMaxRankI8 / kGroup;
// Keys of a strip of scores; channels of a block of values.
constexpr int kStrip = 16;
constexpr int64_t kBlock = 64;

HWY_INLINE __m512i broadcast(const void* quad) {
  int32_t bits;
  std::memcpy(&bits, quad, sizeof(bits));
  return _mm512_set1_epi32(bits);
}

// sum + dot products of four unsigned and four signed bytes. GCC 12 copies the sums of the
// intrinsic from register to register in every step of a loop.
HWY_INLINE __m512i dot(__m512i sum, __m512i unsigned_bytes, __m512i signed_bytes) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_bytes), "v"(signed_bytes));
  return sum;
}

// Adds the products of all channels to the scores of a strip. Rows are addressed from every third
// one on, as in bf16.
HWY_NOINLINE void score_strip(const LatentLayout& layout, const uint8_t* codes, const uint32_t* q,
                              const PackedQueries& at, const float* k_scale, const char* next,
                              const char* far, float* s) {
  const int64_t stride = layout.code_stride(), groups = layout.groups();
  const uint8_t* const base[6] = {codes,
                                  codes + 3 * stride,
                                  codes + 6 * stride,
                                  codes + 9 * stride,
                                  codes + 12 * stride,
                                  codes + 15 * stride};
  int64_t c = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t end = std::min(stride, (g + 1) * kGroup) / 4;
    const __m512i offset = _mm512_loadu_si512(q + at.offsets + g * kLanes);
    __m512i sum[kStrip];
    DSV3_UNROLL
    for (int m = 0; m < kStrip; ++m) sum[m] = offset;
    for (; c < end; ++c) {
      // A line for each quad is what a strip needs: the next one's from the second-level cache,
      // that of the next page from memory.
      _mm_prefetch(next + 64 * c, _MM_HINT_T0);
      _mm_prefetch(far + 64 * c, _MM_HINT_T1);
      const __m512i x = _mm512_loadu_si512(q + c * kLanes);
      DSV3_UNROLL
      for (int m = 0; m < kStrip; ++m)
        sum[m] = dot(sum[m], broadcast(base[m / 3] + m % 3 * stride + 4 * c), x);
    }
    // The scores stay in memory: there are no registers for them beside the sums.
    __asm__ volatile("" ::: "memory");
    const __m512 q_scale = _mm512_loadu_ps(q + at.scales + g * kLanes);
    DSV3_UNROLL
    for (int m = 0; m < kStrip; ++m) {
      const __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[m]), q_scale);
      const __m512 before = _mm512_loadu_ps(s + m * kLanes);
      const __m512 scale = _mm512_set1_ps(k_scale[m * groups + g]);
      _mm512_storeu_ps(s + m * kLanes, _mm512_fmadd_ps(x, scale, before));
    }
  }
}

// All channels of `blocks` of 16 keys by tiles, which are added to the scores.
void score_by_tiles(const LatentLayout& layout, const uint8_t* codes, int64_t blocks,
                    const uint32_t* q, const PackedQueries& at, const float* k_scale,
                    const uint8_t* next, float* s) {
  constexpr int64_t kSums = kTileKeys * kLanes;
  alignas(64) int32_t sums[kMaxGroups * kSums];
  const int64_t stride = layout.code_stride(), groups = layout.groups();
  with_tiles([&](auto& tiles) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * kGroup, end = std::min(stride, begin + kGroup);
      tile_product<TileNumbers::kUnsignedInt8>(tiles, blocks, 1, (end - begin) / kTileRowBytes,
                                               {.data = codes + begin,
                                                .row_stride = stride,
                                                .step = kTileRowBytes,
                                                .block_stride = kTileRows * stride},
                                               {.data = q + begin / 4 * kLanes,
                                                .row_stride = kTileRowBytes,
                                                .step = kTileBytes,
                                                .block_stride = 0},
                                               false,
                                               {.data = sums + g * kSums,
                                                .row_stride = kTileRowBytes,
                                                .block_stride = kTileBytes,
                                                .panel_stride = 0},
                                               next == nullptr ? nullptr : next + begin);
    }
  });
  for (int64_t g = 0; g < groups; ++g) {
    const __m512i offset = _mm512_loadu_si512(q + at.offsets + g * kLanes);
    const __m512 q_scale = _mm512_loadu_ps(q + at.scales + g * kLanes);
    for (int64_t k = 0; k < blocks * kTileRows; ++k) {
      const __m512i sum =
          _mm512_add_epi32(offset, _mm512_load_si512(sums + g * kSums + k * kLanes));
      const __m512 scale = _mm512_mul_ps(q_scale, _mm512_set1_ps(k_scale[k * groups + g]));
      const __m512 before = _mm512_loadu_ps(s + k * kLanes);
      _mm512_storeu_ps(s + k * kLanes, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, before));
    }
  }
}

// Scales of the tokens of a page, [kPageTokens][groups], as float32.
void load_scales(const LatentLayout& layout, const void* page, float* out) {
  const uint16_t* in = layout.scales(page);
  for (int64_t i = 0; i < kPageTokens * layout.groups(); i += 16) {
    const __m512i bits =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i)));
    _mm512_storeu_si512(out + i, _mm512_slli_epi32(bits, 16));
  }
}

// Rows of kBlock codes to signed values, four keys of a channel beside each other, 16 channels a
// vector: out [keys / 4][4][16][4]. Unpacking works on 16 bytes by themselves, which the order of
// codes in the page makes up for.
void interleave_codes(const uint8_t* codes, int64_t stride, int64_t n, char* out) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int64_t k = 0; k < n; k += 4, out += 256) {
    __m512i row[4];
    DSV3_UNROLL
    for (int i = 0; i < 4; ++i) {
      row[i] = _mm512_xor_si512(_mm512_loadu_si512(codes + (k + i) * stride), sign);
    }
    const __m512i low01 = _mm512_unpacklo_epi8(row[0], row[1]);
    const __m512i high01 = _mm512_unpackhi_epi8(row[0], row[1]);
    const __m512i low23 = _mm512_unpacklo_epi8(row[2], row[3]);
    const __m512i high23 = _mm512_unpackhi_epi8(row[2], row[3]);
    _mm512_store_si512(out, _mm512_unpacklo_epi16(low01, low23));
    _mm512_store_si512(out + 64, _mm512_unpackhi_epi16(low01, low23));
    _mm512_store_si512(out + 128, _mm512_unpacklo_epi16(high01, high23));
    _mm512_store_si512(out + 192, _mm512_unpackhi_epi16(high01, high23));
  }
}

// Four codes of 16 rows to a dword for each row.
HWY_INLINE __m512i bytes_of(const __m512i (&code)[4]) {
  const __m512i pair01 = _mm512_or_si512(code[0], _mm512_slli_epi32(code[1], 8));
  const __m512i pair23 = _mm512_or_si512(code[2], _mm512_slli_epi32(code[3], 8));
  return _mm512_or_si512(pair01, _mm512_slli_epi32(pair23, 16));
}

// Softmax weights of a group times the scales of the latents, as integers.
struct Weights {
  bool halves;  // 16 bits in two halves, otherwise 8 bits
  __m512 unit;  // of each row
};

// Rows whose weights are spread over at least so many keys' worth of the largest one do with 8
// bits: the rounding of 1 / 510 of the largest is below 1 / 4000 of their sum, and averages out.
constexpr float kSpread = 8;

// out [keys / 4][2][kLanes] of four bytes, the low halves (or the 8 bits), then the high ones.
// `x` [kTileKeys * 2][kLanes] is work space.
Weights quantize_weights(const float* p, int64_t n, const float* scale, int64_t scale_stride,
                         bool adaptive, float* x, char* out) {
  __m512 largest[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t k = 0; k < n; ++k) {
    const __m512 y =
        _mm512_mul_ps(_mm512_loadu_ps(p + k * kLanes), _mm512_set1_ps(scale[k * scale_stride]));
    largest[k % 2] = _mm512_max_ps(y, largest[k % 2]);
    sum[k % 2] = _mm512_add_ps(y, sum[k % 2]);
    _mm512_storeu_ps(x + k * kLanes, y);
  }
  for (int64_t k = n; k % 4 != 0; ++k) _mm512_storeu_ps(x + k * kLanes, _mm512_setzero_ps());
  const __m512 most = _mm512_max_ps(largest[0], largest[1]);
  const __m512 total = _mm512_add_ps(sum[0], sum[1]);
  const __mmask16 some = _mm512_cmp_ps_mask(most, _mm512_setzero_ps(), _CMP_GT_OQ);
  const __mmask16 peaked =
      _mm512_cmp_ps_mask(_mm512_mul_ps(most, _mm512_set1_ps(kSpread)), total, _CMP_NLE_UQ);
  const bool halves = !adaptive || (some & peaked) != 0;
  const __m512 units = _mm512_set1_ps(halves ? 65535.0f : 255.0f);
  const __m512 inverse = _mm512_maskz_div_ps(some, units, most);
  const __m512i byte = _mm512_set1_epi32(0xff);
  __m512i code_sum = _mm512_setzero_si512();
  for (int64_t k = 0; k < n; k += 4, out += 128) {
    __m512i code[4], high[4];
    DSV3_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m512 y = _mm512_mul_ps(_mm512_loadu_ps(x + (k + i) * kLanes), inverse);
      code[i] = _mm512_cvtps_epi32(y);
    }
    if (halves) {
      DSV3_UNROLL
      for (int i = 0; i < 4; ++i) {
        high[i] = _mm512_srli_epi32(code[i], 8);
        code[i] = _mm512_and_si512(code[i], byte);
      }
      _mm512_store_si512(out + 64, bytes_of(high));
    } else {
      code_sum = _mm512_add_epi32(code_sum, _mm512_add_epi32(_mm512_add_epi32(code[0], code[1]),
                                                             _mm512_add_epi32(code[2], code[3])));
    }
    _mm512_store_si512(out, bytes_of(code));
  }
  if (halves) return {true, _mm512_div_ps(most, units)};
  // The sum of the weights stays what it was.
  return {false, _mm512_maskz_div_ps(some, total, _mm512_cvtepi32_ps(code_sum))};
}

// Rows of weights times kBlock channels; o: the first panel of the two. 2 rows in halves or 4 of 8
// bits keep as many accumulators.
template <bool kHalves>
HWY_NOINLINE void value_block(const char* p, int64_t n, const char* v, const float* unit,
                              const float* correction, float* o) {
  constexpr int kRows = kHalves ? 2 : 4;
  __m512i sum[4][4];  // [row][vector], in halves: [row], [2 + row] for the high ones
  DSV3_UNROLL
  for (int r = 0; r < 4; ++r) {
    DSV3_UNROLL
    for (int j = 0; j < 4; ++j) sum[r][j] = _mm512_setzero_si512();
  }
  for (int64_t k = 0; k < n; k += 4, p += 128, v += 256) {
    __m512i x[4];
    DSV3_UNROLL
    for (int j = 0; j < 4; ++j) x[j] = _mm512_load_si512(v + 64 * j);
    DSV3_UNROLL
    for (int r = 0; r < 4; ++r) {
      const __m512i weight = broadcast(p + r / kRows * 64 + r % kRows * 4);
      DSV3_UNROLL
      for (int j = 0; j < 4; ++j) sum[r][j] = dot(sum[r][j], weight, x[j]);
    }
  }
  DSV3_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const __m512 scale = _mm512_set1_ps(unit[r]), factor = _mm512_set1_ps(correction[r]);
    DSV3_UNROLL
    for (int j = 0; j < 4; ++j) {
      float* to = o + j / 2 * kLanes * kPanel + r * kPanel + j % 2 * 16;
      __m512i all = sum[r][j];
      if (kHalves) all = _mm512_add_epi32(all, _mm512_slli_epi32(sum[(r + 2) % 4][j], 8));
      const __m512 before = _mm512_mul_ps(factor, _mm512_loadu_ps(to));
      _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(all), scale, before));
    }
  }
}

constexpr int64_t kTwoPages = kPagesI8 * kPageTokens;

// Weights as quantize_weights leaves them to rows of tiles: [half][row][keys], filled up with zeros
// to 64 keys.
void transpose_weights(const char* p, bool halves, int64_t n, uint8_t* out) {
  const int64_t quads = (n + 3) / 4;
  for (int64_t half = 0; half < (halves ? 2 : 1); ++half, out += kLanes * kTwoPages) {
    for (int64_t k = 0; k < quads; k += 16) {
      __m512i x[16];
      DSV3_UNROLL
      for (int i = 0; i < 16; ++i) {
        x[i] = k + i < quads ? _mm512_load_si512(p + (k + i) * 128 + half * 64)
                             : _mm512_setzero_si512();
      }
      transpose16(x);
      DSV3_UNROLL
      for (int i = 0; i < 16; ++i) _mm512_store_si512(out + i * kTwoPages + 4 * k, x[i]);
    }
  }
}

// All rows of a group times kBlock channels by tiles; o: the first panel of the two.
template <class Tiles>
void value_block_by_tiles(Tiles& tiles, const uint8_t* weights, bool halves, int64_t n,
                          const char* v, const float* unit, const float* correction, float* o) {
  constexpr int64_t kSums = kLanes * kBlock;
  alignas(64) int32_t sums[2 * kSums];  // [half][row][channels]
  tile_product<TileNumbers::kUnsignedInt8>(
      tiles, halves ? 2 : 1, kBlock / 16, (n + 63) / 64,
      {.data = weights,
       .row_stride = kTwoPages,
       .step = kTileRowBytes,
       .block_stride = kLanes * kTwoPages},
      {.data = v, .row_stride = 4 * kBlock, .step = 16 * 4 * kBlock, .block_stride = kTileRowBytes},
      false,
      {.data = sums,
       .row_stride = 4 * kBlock,
       .block_stride = 4 * kSums,
       .panel_stride = kTileRowBytes});
  for (int64_t r = 0; r < kLanes; ++r) {
    const __m512 scale = _mm512_set1_ps(unit[r]), factor = _mm512_set1_ps(correction[r]);
    for (int64_t j = 0; j < kBlock / 16; ++j) {
      float* to = o + j / 2 * kLanes * kPanel + r * kPanel + j % 2 * 16;
      const int32_t* from = sums + r * kBlock + j * 16;
      __m512i all = _mm512_load_si512(from);
      if (halves)
        all = _mm512_add_epi32(all, _mm512_slli_epi32(_mm512_load_si512(from + kSums), 8));
      const __m512 before = _mm512_mul_ps(factor, _mm512_loadu_ps(to));
      _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(all), scale, before));
    }
  }
}

// The same by vectors.
void value_block_by_vectors(const char* p, bool halves, int64_t n, const char* v, const float* unit,
                            const float* correction, float* o) {
  const auto block = halves ? value_block<true> : value_block<false>;
  for (int64_t r = 0; r < kLanes; r += halves ? 2 : 4)
    block(p + 4 * r, n, v, unit + r, correction + r, o + r * kPanel);
}

// Stands for tiles where there are none.
struct NoTiles {};

}  // namespace

void pack_rows_i8(const LatentLayout& layout, const float* in, int64_t row_stride, int64_t rows,
                  uint32_t* q) {
  const PackedQueries at(layout);
  auto* scales = reinterpret_cast<float*>(q + at.scales);
  auto* offsets = reinterpret_cast<int32_t*>(q + at.offsets);
  std::fill_n(q, at.rope, 0);
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = in + r * row_stride;
    for (int64_t g = 0; g < layout.groups(); ++g) {
      const int64_t begin = g * kGroup, count = std::min(layout.rank - begin, kGroup);
      __m512 x[kGroup / 16];
      __m512 largest = _mm512_setzero_ps();
      __mmask16 broken = 0;
      DSV3_UNROLL
      for (int64_t i = 0; i < kGroup / 16; ++i) {
        const int64_t left = std::clamp<int64_t>(count - 16 * i, 0, 16);
        x[i] =
            _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << left) - 1), row + begin + 16 * i);
        const __m512 size = _mm512_abs_ps(x[i]);
        largest = _mm512_max_ps(largest, size);
        broken |= _mm512_cmp_ps_mask(size, _mm512_set1_ps(std::numeric_limits<float>::max()),
                                     _CMP_NLE_UQ);
      }
      const float most =
          broken != 0 ? std::numeric_limits<float>::quiet_NaN() : _mm512_reduce_max_ps(largest);
      const __m512 inverse = _mm512_set1_ps(most > 0 ? 127 / most : 0.0f);
      __m512i sum = _mm512_setzero_si512();
      DSV3_UNROLL
      for (int64_t i = 0; i < kGroup / 16; ++i) {
        const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(x[i], inverse));
        sum = _mm512_add_epi32(sum, code);
        alignas(16) uint32_t quads[4];
        _mm_store_si128(reinterpret_cast<__m128i*>(quads), _mm512_cvtsepi32_epi8(code));
        for (int64_t j = 0; j < 4; ++j) {
          const int64_t channel = begin + 16 * i + 4 * j;
          if (channel < layout.code_stride())
            q[LatentLayout::code_index(channel) / 4 * kLanes + r] = quads[j];
        }
      }
      scales[g * kLanes + r] = most / 127;
      offsets[g * kLanes + r] = -128 * _mm512_reduce_add_epi32(sum);
    }
  }
  pack_rows_bf16(in + layout.rank, row_stride, 1, rows, layout.rope, q + at.rope);
}

void scores_i8(const LatentLayout& layout, const void* page, int64_t n, const uint32_t* q,
               const void* next, float* s) {
  const PackedQueries at(layout);
  const int64_t stride = layout.code_stride(), groups = layout.groups();
  scores_bf16(1, layout.rope_rows(page), layout.rope_stride(), n, layout.rope_stride(), q + at.rope,
              0, false, next != nullptr ? layout.rope_rows(next) : nullptr, s);
  alignas(64) float scales[kPageTokens * kMaxGroups];
  load_scales(layout, page, scales);
  if (current_features().amx) {
    score_by_tiles(layout, layout.codes(page), (n + kTileRows - 1) / kTileRows, q, at, scales,
                   next == nullptr ? nullptr : layout.codes(next), s);
    return;
  }
  for (int64_t k = 0; k < n; k += kStrip) {
    const uint8_t* codes = layout.codes(page) + k * stride;
    const auto* following = reinterpret_cast<const char*>(
        k + kStrip < n || next == nullptr ? codes + kStrip * stride : layout.codes(next));
    const auto* far =
        reinterpret_cast<const char*>(next == nullptr ? codes : layout.codes(next) + k * stride);
    score_strip(layout, codes, q, at, scales + k * groups, following, far, s + k * kLanes);
  }
}

namespace {

template <class Tiles>
void add_values(Tiles& tiles, const LatentLayout& layout, const void* const* pages, int64_t groups,
                const float* p, int64_t n, bool adaptive, const float* correction, float* o) {
  constexpr bool kTiles = !std::is_same_v<Tiles, NoTiles>;
  constexpr int64_t kKeys = kTwoPages;
  constexpr int64_t kWeightBytes = kKeys / 4 * 128;
  constexpr int64_t kGroupsAtOnce = 4;
  alignas(64) char packed[kKeys / 4 * 256];
  alignas(64) char weights[kGroupsAtOnce * kWeightBytes];
  alignas(64) uint8_t transposed[kTiles ? kGroupsAtOnce * kWeightBytes : 1];
  alignas(64) float unit[kGroupsAtOnce * kLanes];
  alignas(64) float work[kKeys * kLanes];
  alignas(64) float scales[kKeys * kMaxGroups];
  bool halves[kGroupsAtOnce];
  const int64_t channels = layout.code_stride(), scale_groups = layout.groups();
  for (int64_t begin = 0; begin < n; begin += kPageTokens) {
    load_scales(layout, pages[begin / kPageTokens], scales + begin * scale_groups);
  }
  for (int64_t first = 0; first < groups; first += kGroupsAtOnce) {
    const int64_t end = std::min(groups, first + kGroupsAtOnce);
    for (int64_t c = 0; c < channels; c += kBlock) {
      for (int64_t g = first; c % kGroup == 0 && g < end; ++g) {
        const Weights w =
            quantize_weights(p + g * kKeys * kLanes, n, scales + c / kGroup, scale_groups, adaptive,
                             work, weights + (g - first) * kWeightBytes);
        _mm512_store_ps(unit + (g - first) * kLanes, w.unit);
        halves[g - first] = w.halves;
        if constexpr (kTiles) {
          const int64_t at = (g - first) * kWeightBytes;
          transpose_weights(weights + at, w.halves, n, transposed + at);
        }
      }
      for (int64_t begin = 0; begin < n; begin += kPageTokens) {
        interleave_codes(layout.codes(pages[begin / kPageTokens]) + c, channels,
                         std::min(kPageTokens, n - begin), packed + begin * 64);
      }
      for (int64_t g = first; g < end; ++g) {
        const int64_t at = (g - first) * kWeightBytes;
        const float* units = unit + (g - first) * kLanes;
        float* to = o + (g * channels + c) * kLanes;
        if constexpr (kTiles) {
          value_block_by_tiles(tiles, transposed + at, halves[g - first], n, packed, units,
                               correction + g * kLanes, to);
        } else {
          value_block_by_vectors(weights + at, halves[g - first], n, packed, units,
                                 correction + g * kLanes, to);
        }
      }
    }
  }
}

}  // namespace

void values_i8(const LatentLayout& layout, const void* const* pages, int64_t groups, const float* p,
               int64_t n, bool adaptive, const float* correction, float* o) {
  const auto run = [&](auto& tiles) {
    add_values(tiles, layout, pages, groups, p, n, adaptive, correction, o);
  };
  if (current_features().amx) return with_tiles(run);
  NoTiles none;
  run(none);
}

}  // namespace dsv3::kernels
HWY_POP_ATTRIBUTES

#else

namespace dsv3::kernels {

namespace {
[[noreturn]] void missing() { fail("attention in 8 bits: this processor has no AVX-512 VNNI"); }
}  // namespace

void pack_rows_i8(const LatentLayout&, const float*, int64_t, int64_t, uint32_t*) { missing(); }
void scores_i8(const LatentLayout&, const void*, int64_t, const uint32_t*, const void*, float*) {
  missing();
}
void values_i8(const LatentLayout&, const void* const*, int64_t, const float*, int64_t, bool,
               const float*, float*) {
  missing();
}

}  // namespace dsv3::kernels

#endif  // HWY_ARCH_X86
