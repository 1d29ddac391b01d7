#pragma once

#include <cstdint>

#include "kernels/attention/latent_page.h"

namespace dsv3::kernels {

// The steps of attention on one tile of keys. Single-threaded, raw pointers; src/ops/mla_attention
// puts them together.
//
// A row is a query of one head. Rows go in groups of kLanes, one row to a lane of the vectors:
//
//   scores   s[key][row]   = sum over c of keys[key][c] * q[c][row]       keys broadcast
//   softmax  p[key][row]   = exp(s - maximum of the row)                  lane by lane
//   values   o[row][c]     = correction[row] * o + sum over key of p[key][row] * v[key][c]
//                                                                         p broadcast
//
// So no sum runs across the lanes, the latents of a page are used where they lie as keys and as
// values, and a row's result does not depend on its neighbours: every element is one chain of
// fused multiply-adds in the order of c, or of the keys of a tile.
//
// float32 runs everywhere (Highway). The bf16 steps need AVX-512 BF16: keys and values in bf16,
// queries and softmax weights rounded to bf16, sums in float32 (vdpbf16ps: two products a step; or
// AMX's tiles). The packed queries of 32 channels are a tile, and so are 16 keys of as many.

/// Rows of a group, whatever the vectors of the processor hold.
inline constexpr int64_t kLanes = 16;
/// Keys of a tile, at most.
inline constexpr int64_t kTileKeys = kPageTokens;
/// Channels of a panel of weighted sums. A group's sums of `channels` channels, a multiple of
/// kPanel, are kept as [channels / kPanel][kLanes][kPanel].
inline constexpr int64_t kPanel = 32;

/// Which keys of a tile the rows of a group see.
struct TileMask {
  const int64_t* seen = nullptr;     ///< [kLanes]: row r sees the keys before seen[r]; null: all
  const uint8_t* visible = nullptr;  ///< [keys]: 0 for a key that no row sees; null: all
};

// ---- float32 ----

/// `rows` <= kLanes rows of `channels` floats, element (r, c) at in[r * row_stride + c *
/// col_stride], into q[c][row]; lanes without a row become 0.
void pack_rows_f32(const float* in, int64_t row_stride, int64_t col_stride, int64_t rows,
                   int64_t channels, float* q);
/// s[key][row] (+)= sum_c keys[key][c] * q[c][row] for n keys, `key_stride` floats apart. `next`:
/// where the keys that follow begin, to be fetched meanwhile; may be null.
void scores_f32(const float* keys, int64_t key_stride, int64_t n, int64_t channels, const float* q,
                bool accumulate, const float* next, float* s);
/// o[row][c] = correction[row] * o[row][c] + sum_k p[k][row] * v[k][c] for the rows of a group, o
/// in panels. v is read up to `channels` rounded up to kLanes.
void values_f32(const float* p, int64_t n, const float* v, int64_t v_stride, int64_t channels,
                const float* correction, float* o);

// ---- softmax, for both ----

/// s = s * scale where the row sees the key, -infinity elsewhere; [n][kLanes].
void scale_and_mask(float* s, int64_t n, float scale, const TileMask& mask);
/// One tile of an online softmax in each lane: s becomes p = exp(s - m'), m' = max(maximum, max s);
/// maximum = m', sum = sum * correction + sum of p, correction = exp(maximum - m'), by which what
/// was accumulated so far has to be multiplied. -infinity gives 0, and a tile of nothing else
/// changes nothing. NaN and +infinity make the row's sum NaN. exp errs by up to 2 units in the last
/// place, and is 0 below e^-87.
void softmax_lanes(float* s, int64_t n, float* maximum, float* sum, float* correction);

/// Adds the softmax of other keys to a group's: o and other_o in panels, `channels` of them.
void merge_lanes(const float* other_maximum, const float* other_sum, const float* other_o,
                 int64_t channels, float* maximum, float* sum, float* o);

// ---- bf16 ----

/// True if this processor has AVX-512 BF16 and the kernels are not forced to less. The functions
/// below may be called only then.
bool has_attention_bf16();

/// As pack_rows_f32, rounded: q[c / 2][row][2], an odd last channel is followed by 0.
void pack_rows_bf16(const float* in, int64_t row_stride, int64_t col_stride, int64_t rows,
                    int64_t channels, uint32_t* q);
/// s[key][row] (+)= sum over pairs of channels, for several groups: their queries are `q_stride`
/// words apart, their scores kTileKeys * kLanes floats. Other strides and channels in elements,
/// channels even. Keys are read, and scores written, up to n rounded up to 16.
void scores_bf16(int64_t groups, const uint16_t* keys, int64_t key_stride, int64_t n,
                 int64_t channels, const uint32_t* q, int64_t q_stride, bool accumulate,
                 const uint16_t* next, float* s);
/// p[n][kLanes] rounded, in pairs of keys: out[key / 2][row][2]; an odd last key is followed by 0.
void pack_weights_bf16(const float* p, int64_t n, uint32_t* out);
/// As values_f32 with packed weights of several groups, one after the other as pack_weights_bf16
/// leaves them (`p_stride` elements apart); o and correction likewise. `channels` is a multiple of
/// kPanel.
void values_bf16(int64_t groups, const uint32_t* p, int64_t p_stride, int64_t n, const uint16_t* v,
                 int64_t v_stride, int64_t channels, const float* correction, float* o);
/// x [n][kLanes] rounded to rows of bf16: out[key * out_stride + lane].
void store_rows_bf16(const float* x, int64_t n, uint16_t* out, int64_t out_stride);
/// The first n tokens of a page of BF16 or I8, rounded, [n, width] with rows `ld` elements apart.
void decode_latents_bf16(const LatentLayout& layout, const void* page, int64_t n, uint16_t* out,
                         int64_t ld);

// ---- 8 bits ----
//
// Latents stay 8-bit codes (LatentLayout's I8) as keys and as values; sums are exact in 32-bit
// integers (vpdpbusd: four products a step; or AMX's tiles). Queries are rounded to 8 bits, with a
// scale for each row and group of channels; softmax weights times the scales of the latents to 16
// bits, relative to the largest of the row and tile, and multiplied as two halves of 8 bits, or to
// 8 bits if they are spread enough in all rows of a group. Rotary channels are computed in bf16. A
// tile of keys is two pages, since what follows the integer sums costs the same for few keys as for
// many.

inline constexpr int64_t kPagesI8 = 2;
inline constexpr int64_t kMaxRankI8 = 1024;

/// True if this processor has AVX-512 VNNI and BF16, the kernels are not forced to less, and the
/// rank is at most kMaxRankI8. The functions below may be called only then.
bool has_attention_i8(const LatentLayout& layout);

/// Words that pack_rows_i8 writes for a group.
int64_t packed_words_i8(const LatentLayout& layout);
/// `rows` <= kLanes queries in the latent space, [rank + rope] each.
void pack_rows_i8(const LatentLayout& layout, const float* in, int64_t row_stride, int64_t rows,
                  uint32_t* q);
/// s[key][row] for the first n tokens of a page; s has room for kTileKeys. `next`: the following
/// page, to be fetched meanwhile; may be null.
void scores_i8(const LatentLayout& layout, const void* page, int64_t n, const uint32_t* q,
               const void* next, float* s);
/// As values_bf16 with the latents of up to kPagesI8 pages as values; p are the softmax weights of
/// the groups, float32, kPagesI8 * kTileKeys * kLanes apart. o has layout.code_stride() channels.
/// `adaptive` lets a group do with weights of 8 bits; rows of a group then depend on each other.
void values_i8(const LatentLayout& layout, const void* const* pages, int64_t groups, const float* p,
               int64_t n, bool adaptive, const float* correction, float* o);

// ---- definitions: plain loops, sums in double ----

void scores_ref(const float* keys, int64_t key_stride, int64_t n, int64_t channels, const float* q,
                bool accumulate, float* s);
void values_ref(const float* p, int64_t n, const float* v, int64_t v_stride, int64_t channels,
                const float* correction, float* o);
void softmax_lanes_ref(float* s, int64_t n, float* maximum, float* sum, float* correction);

}  // namespace dsv3::kernels
