#pragma once

#include <cstdint>

#include "kernels/matmul/matmul.h"

namespace dsv3::kernels {

/// Rows of memory that are packed into panels side by side, before the next rows.
inline constexpr int64_t kPackedRowsAtATime = 32;

/// An operand seen from the panels it is packed into. A panel is some rows of A or columns of B,
/// its lanes, for a range of k:
///   float32   [k][lane]
///   bfloat16  [k / 2][lane][2]: two consecutive k side by side, as the instruction takes them
/// Either way it is made of words of 4 bytes, [step][lane], and a step is one k or two.
struct PanelSource {
  MatmulOperand matrix;
  bool lanes_are_rows;  ///< a lane is a row of the matrix and k goes along it; else the reverse
  bool round;           ///< float32 panels of numbers rounded to bfloat16
  int64_t depth;        ///< how many k there are

  int64_t row(int64_t r) const {
    return (matrix.rows != nullptr ? int64_t{matrix.rows[r]} : r) * matrix.stride;
  }
  float scale(int64_t r) const { return matrix.row_scale != nullptr ? matrix.row_scale[r] : 1.0f; }
  /// Rows lie one after the other and are not scaled.
  bool is_plain() const { return matrix.rows == nullptr && matrix.row_scale == nullptr; }
  /// Elements from a row to one whose packing comes soon, where k goes from row to row of a matrix
  /// too large for the near caches: rows are too far apart for the hardware to foresee. Else 0.
  int64_t prefetch_distance(int64_t k) const {
    constexpr int64_t kLarge = 1 << 18;
    const bool wanted =
        is_plain() && depth * matrix.stride > kLarge && k + 2 * kPackedRowsAtATime <= depth;
    return wanted ? kPackedRowsAtATime * matrix.stride : 0;
  }
  /// Panels of float32 would only repeat what is in memory.
  bool is_float32_panel() const { return !lanes_are_rows && !matrix.bf16 && !round && is_plain(); }
};

/// Words that packing may write beyond a panel's last.
inline constexpr int64_t kPackSlack = 16;
inline constexpr int kMaxVectorTileRows = 14;  ///< where sums are vectors
inline constexpr int kMaxTileRows = 32;
inline constexpr int kMaxTileVectors = 2;

/// The inner loops of one instruction set.
struct MatmulKernels {
  /// `lanes` lanes from `lane` on, `count` k from `k` on, steps `step_words` words apart. What
  /// lies between the lanes and the next step is undefined. May write kPackSlack words beyond the
  /// end.
  using Pack = void (*)(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
                        int64_t step_words, float* out);
  /// C = or += A B for a tile of C whose sums stay in registers meanwhile.
  using Tile = void (*)(int64_t steps, const float* a, int64_t a_step_words, const float* b,
                        int64_t b_step_words, bool add, float* c, int64_t ldc);

  int step_k;           ///< k in a step: 1, or 2 in bfloat16
  int lanes;            ///< floats in a vector
  int tile_rows;        ///< of the largest tile
  int64_t block_steps;  ///< of k that are added up in registers
  /// AMX: panels of A are [lane][step] and `a_step_words` the words of a lane; steps are filled up
  /// with zeros to a multiple of 16, lanes of A with anything; smaller tiles gain nothing.
  bool amx = false;
  Pack pack;
  Pack pack_a = nullptr;                      ///< of panels of A; null: as `pack`
  Tile tiles[kMaxTileVectors][kMaxTileRows];  ///< [vectors - 1][rows - 1]
};

const MatmulKernels& f32_matmul_kernels();
/// Null where there are no instructions for products of bfloat16 that are faster than float32's.
const MatmulKernels* bf16_matmul_kernels();
/// Their `pack`, and the kernels with AMX's tiles, which go by it. For processors that have them.
void pack_bf16(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
               int64_t step_words, float* out);
const MatmulKernels& amx_matmul_kernels();

}  // namespace dsv3::kernels
