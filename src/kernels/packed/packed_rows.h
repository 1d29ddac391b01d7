#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/int8/int8_rows.h"
#include "kernels/weight_view.h"

namespace dsv3::kernels {

// Rows of activations rounded to what products with a format of weights are fastest with. Against
// float32 activations (kernels/gemm) that costs accuracy: docs/NUMERICS.md says how much.

/// In what form.
enum class RowForm : uint8_t {
  kFloat32,     ///< not rounded, not packed; products by gemm_nt
  kMatmul,      ///< not rounded, not packed; products by matmul: F32 and BF16, many rows
  kInt8Rows,    ///< Int8Chunk, one row after the other: few rows
  kBF16Rows,    ///< bfloat16, filled up with zeros to a multiple of 64: few rows (AVX-512 BF16)
  kInt8Panels,  ///< Int8Panel: many rows (AVX-512 VNNI)
  kBF16Panels,  ///< BF16Panel: many rows (AVX-512 BF16, AMX)
  kF32Panels,   ///< F32Panel: many rows, not rounded
};

/// Rows that lie side by side in a panel, and channels of a panel.
inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kPanelChannels = 32;

/// 32 channels of 16 rows as 8-bit integers: x = scale * (code - 128).
struct alignas(64) Int8Panel {
  uint8_t codes[kPanelChannels / 4][kPanelRows][4];  ///< channel 4 q + i of row r: [q][r][i]
  float scale[kPanelRows];
  float sum[2][kPanelRows];  ///< of channels 0 to 15 and 16 to 31: scale * sum of (code - 128)
};

/// 32 channels of 16 rows as bfloat16.
struct alignas(64) BF16Panel {
  uint16_t values[kPanelChannels / 2][kPanelRows][2];  ///< channel 2 q + i of row r: [q][r][i]
};

/// 32 channels of 16 rows as they are.
struct alignas(64) F32Panel {
  float values[kPanelChannels][kPanelRows];
};

/// Whether rows of this form are stored one after the other, so that products may choose among
/// them.
constexpr bool is_row_major(RowForm form) {
  return form == RowForm::kInt8Rows || form == RowForm::kBF16Rows;
}

/// Up to this many rows their products one by one are faster than a panel, which always computes
/// 16, and than decoding weights to float32.
inline constexpr int64_t kFewRows = 8;
/// From more rows than this on matmul, which packs weights too, is faster than panels of rows
/// alone.
inline constexpr int64_t kManyRows = 64;

/// Whether rows of this form are in memory of their own.
constexpr bool is_packed(RowForm form) {
  return form != RowForm::kFloat32 && form != RowForm::kMatmul;
}

/// The fastest form for products of m rows with weights of a format on this processor, as
/// force_variant() lets it be used. `w` matters by its format and scale blocks.
RowForm row_form(const WeightView& w, int64_t m);

/// Bytes of m rows of `cols` channels. 0 for forms that are not packed.
size_t packed_bytes(RowForm form, int64_t m, int64_t cols);

/// Sets to zero what pack_channels will not write: channels beyond `cols`, rows beyond m. To be
/// called once, before it.
void clear_padding(RowForm form, int64_t m, int64_t cols, void* packed);
/// Rounds channels [channel, channel + n) of a row: x[0] is the first of them. `channel` is a
/// multiple of 32, and so is n unless these channels end the row.
void pack_channels(RowForm form, int64_t cols, int64_t row, int64_t channel, int64_t n,
                   const float* x, void* packed);

/// Copies a row of kInt8Rows to a row of kInt8Panels.
void copy_to_panels(int64_t cols, const Int8Chunk* from, int64_t row, void* packed);

/// C[i, n] = sum_k A[i, k] * W[n, k] for packed rows A, i < m, n < w.rows. `rows`, for row-major
/// forms only, may choose the rows of A: row i is rows[i]. Single-threaded.
void gemm_nt_packed(RowForm form, int64_t m, const void* packed, const int32_t* rows,
                    const WeightView& w, float* c, int64_t ldc);

}  // namespace dsv3::kernels
