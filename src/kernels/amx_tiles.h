// Products of matrices in AMX's tiles: eight registers of 16 rows of 64 bytes.
//
//   C[i][j] += sum over k of A[i][k] * B[k][j]      i, j < 16; k < 32 (bfloat16) or 64 (8 bits)
//
// A's rows are tile rows. A row of B's tile is 4 bytes of each of 16 columns j: two consecutive k
// in bfloat16, four in 8 bits, which is how the panels of activations and of queries lie in memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "formats/float_formats.h"
#include "kernels/variants.h"

namespace dsv3::kernels {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileRowBytes = 64;
inline constexpr int64_t kTileBytes = kTileRows * kTileRowBytes;

/// In what numbers tiles are multiplied.
enum class TileNumbers : uint8_t {
  kBFloat16,      ///< bfloat16, sums in float32
  kUnsignedInt8,  ///< A uint8, B int8, sums in int32
};

/// The registers in software, for tests on processors that have none (variant "amx_emulated").
class EmulatedTiles {
 public:
  template <int t>
  void zero() {
    std::memset(tiles_[t], 0, kTileBytes);
  }
  template <int t>
  void load(const void* p, int64_t row_stride) {
    for (int64_t r = 0; r < kTileRows; ++r)
      std::memcpy(tiles_[t][r], static_cast<const char*>(p) + r * row_stride, kTileRowBytes);
  }
  template <int t>
  void store(void* p, int64_t row_stride) const {
    for (int64_t r = 0; r < kTileRows; ++r)
      std::memcpy(static_cast<char*>(p) + r * row_stride, tiles_[t][r], kTileRowBytes);
  }
  template <TileNumbers numbers, int c, int a, int b>
  void multiply() {
    for (int64_t i = 0; i < kTileRows; ++i) {
      for (int64_t j = 0; j < 16; ++j) {
        if constexpr (numbers == TileNumbers::kBFloat16) {
          // Sums of even and of odd k by themselves, as the instruction has it.
          float sum[2] = {};
          for (int64_t k = 0; k < 32; ++k) {
            sum[k % 2] += formats::bf16_to_float(at<uint16_t>(a, i, k)) *
                          formats::bf16_to_float(at<uint16_t>(b, k / 2, 2 * j + k % 2));
          }
          put(c, i, j, at<float>(c, i, j) + (sum[0] + sum[1]));
        } else {
          int32_t sum = at<int32_t>(c, i, j);
          for (int64_t k = 0; k < 64; ++k)
            sum += at<uint8_t>(a, i, k) * at<int8_t>(b, k / 4, 4 * j + k % 4);
          put(c, i, j, sum);
        }
      }
    }
  }

 private:
  template <class T>
  T at(int t, int64_t row, int64_t i) const {
    T x;
    std::memcpy(&x, tiles_[t][row] + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return x;
  }
  template <class T>
  void put(int t, int64_t row, int64_t i, T x) {
    std::memcpy(tiles_[t][row] + i * static_cast<int64_t>(sizeof(T)), &x, sizeof(T));
  }
  unsigned char tiles_[8][kTileRows][kTileRowBytes];
};

#if defined(__x86_64__)

/// The registers of the processor, within a TileSession. Assembly rather than intrinsics: GCC's do
/// not tell the compiler what memory they read, and need literal numbers.
class HardwareTiles {
 public:
  template <int t>
  void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(t));
  }
  template <int t>
  void load(const void* p, int64_t row_stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(row_stride), "i"(t) : "memory");
  }
  template <int t>
  void store(void* p, int64_t row_stride) const {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(row_stride), "i"(t) : "memory");
  }
  template <TileNumbers numbers, int c, int a, int b>
  void multiply() {
    if constexpr (numbers == TileNumbers::kBFloat16) {
      asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
    } else {
      asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
    }
  }
};

#else
using HardwareTiles = EmulatedTiles;
#endif

/// A matrix that is cut into tiles: blocks of 16 rows of A or panels of 16 columns of B, or both of
/// C. Distances in bytes.
struct TileOperand {
  const void* data;
  int64_t row_stride;    ///< from a tile's row to its next
  int64_t step;          ///< from a tile to the one of the following k
  int64_t block_stride;  ///< to the next block or panel
};
struct TileResult {
  void* data;
  int64_t row_stride, block_stride, panel_stride;
};

namespace tiles_internal {

// Blocks of A (1 or 2) times panels of B (1 or 2). Sums are tiles 0 to 3, A 4 and 5, B 6 and 7.
template <TileNumbers numbers, int kBlocks, int kPanels, class Tiles>
inline void multiply(Tiles& tiles, int64_t steps, const char* a, const TileOperand& of_a,
                     const char* b, const TileOperand& of_b, bool accumulate, char* c,
                     const TileResult& of_c, const char* next_a) {
  char *const c10 = c + of_c.block_stride, *const c01 = c + of_c.panel_stride,
              *const c11 = c10 + of_c.panel_stride;
  if (accumulate) {
    tiles.template load<0>(c, of_c.row_stride);
    if constexpr (kPanels == 2) tiles.template load<1>(c01, of_c.row_stride);
    if constexpr (kBlocks == 2) tiles.template load<2>(c10, of_c.row_stride);
    if constexpr (kBlocks == 2 && kPanels == 2) tiles.template load<3>(c11, of_c.row_stride);
  } else {
    tiles.template zero<0>();
    if constexpr (kPanels == 2) tiles.template zero<1>();
    if constexpr (kBlocks == 2) tiles.template zero<2>();
    if constexpr (kBlocks == 2 && kPanels == 2) tiles.template zero<3>();
  }
  for (int64_t s = 0; s < steps; ++s) {
    if (next_a != nullptr) {
      for (int64_t r = 0; r < kBlocks * kTileRows; ++r)
        __builtin_prefetch(next_a + s * of_a.step + r * of_a.row_stride, 0, 2);
    }
    tiles.template load<4>(a, of_a.row_stride);
    tiles.template load<6>(b, of_b.row_stride);
    tiles.template multiply<numbers, 0, 4, 6>();
    if constexpr (kPanels == 2) {
      tiles.template load<7>(b + of_b.block_stride, of_b.row_stride);
      tiles.template multiply<numbers, 1, 4, 7>();
    }
    if constexpr (kBlocks == 2) {
      tiles.template load<5>(a + of_a.block_stride, of_a.row_stride);
      tiles.template multiply<numbers, 2, 5, 6>();
      if constexpr (kPanels == 2) tiles.template multiply<numbers, 3, 5, 7>();
    }
    a += of_a.step;
    b += of_b.step;
  }
  tiles.template store<0>(c, of_c.row_stride);
  if constexpr (kPanels == 2) tiles.template store<1>(c01, of_c.row_stride);
  if constexpr (kBlocks == 2) tiles.template store<2>(c10, of_c.row_stride);
  if constexpr (kBlocks == 2 && kPanels == 2) tiles.template store<3>(c11, of_c.row_stride);
}

}  // namespace tiles_internal

/// C = or += A B for `blocks` of 16 rows of A and `panels` of 16 columns of B, over `steps` tiles
/// of k. `next_a`: a matrix like A that will be read soon and is fetched meanwhile; may be null.
template <TileNumbers numbers, class Tiles>
void tile_product(Tiles& tiles, int64_t blocks, int64_t panels, int64_t steps, const TileOperand& a,
                  const TileOperand& b, bool accumulate, const TileResult& c,
                  const void* next_a = nullptr) {
  const auto* from_b = static_cast<const char*>(b.data);
  for (int64_t p = 0; p < panels; p += 2, from_b += 2 * b.block_stride) {
    const auto* from_a = static_cast<const char*>(a.data);
    const auto* next = p == 0 ? static_cast<const char*>(next_a) : nullptr;
    for (int64_t i = 0; i < blocks; i += 2, from_a += 2 * a.block_stride) {
      char* to = static_cast<char*>(c.data) + i * c.block_stride + p * c.panel_stride;
      const auto run = [&](auto kernel) {
        kernel(tiles, steps, from_a, a, from_b, b, accumulate, to, c, next);
      };
      const bool two_blocks = i + 1 < blocks, two_panels = p + 1 < panels;
      if (two_blocks && two_panels) {
        run(tiles_internal::multiply<numbers, 2, 2, Tiles>);
      } else if (two_blocks) {
        run(tiles_internal::multiply<numbers, 2, 1, Tiles>);
      } else if (two_panels) {
        run(tiles_internal::multiply<numbers, 1, 2, Tiles>);
      } else {
        run(tiles_internal::multiply<numbers, 1, 1, Tiles>);
      }
      if (next != nullptr) next += 2 * a.block_stride;
    }
  }
}

/// Sets the processor's registers up for this thread, and gives them back, which takes as long as
/// some products: a session within another does nothing, so put one around many products. Does
/// nothing for variants without AMX.
class TileSession {
 public:
  TileSession() {
#if defined(__x86_64__)
    struct alignas(64) Config {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    static_assert(sizeof(Config) == 64);
    static constexpr Config kConfig;
    if (active_ && depth_++ == 0) asm volatile("ldtilecfg %0" : : "m"(kConfig));
#endif
  }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
  ~TileSession() {
#if defined(__x86_64__)
    if (active_ && --depth_ == 0) asm volatile("tilerelease");
#endif
  }

 private:
  const bool active_ = current_features().amx && !current_features().amx_emulated;
  static inline thread_local int depth_ = 0;
};

/// f(tiles) with the registers of the variant in use, which is one with AMX (Features).
template <class F>
void with_tiles(F&& f) {
  const TileSession session;
  if (current_features().amx_emulated) {
    EmulatedTiles tiles;
    f(tiles);
  } else {
    HardwareTiles tiles;
    f(tiles);
  }
}

}  // namespace dsv3::kernels
