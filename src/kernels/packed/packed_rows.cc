#include "kernels/packed/packed_rows.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/gemm/gemm.h"
#include "kernels/int8/int8_dot.h"
#include "kernels/packed/panel_products.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

int64_t bf16_row_stride(int64_t cols) { return (cols + 63) / 64 * 64; }
int64_t panel_channels(int64_t cols) { return (cols + kPanelChannels - 1) / kPanelChannels; }
int64_t panel_rows(int64_t m) { return (m + kPanelRows - 1) / kPanelRows; }

template <class Panel>
Panel* panels_of(void* packed, int64_t cols, int64_t row, int64_t channel) {
  return static_cast<Panel*>(packed) + row / kPanelRows * panel_channels(cols) +
         channel / kPanelChannels;
}

// 32 channels of a chunk, from a multiple of 32 on.
void copy_group(const Int8Chunk& chunk, int64_t channel, int64_t lane, Int8Panel& panel) {
  for (int64_t q = 0; q < kPanelChannels / 4; ++q) {
    uint32_t four;
    std::memcpy(&four, chunk.codes + channel + 4 * q, 4);
    four ^= 0x80808080;  // + 128 in each byte
    std::memcpy(panel.codes[q][lane], &four, 4);
  }
  panel.scale[lane] = chunk.scale[channel / 16];
  panel.sum[0][lane] = chunk.sum[channel / 16];
  panel.sum[1][lane] = chunk.sum[channel / 16 + 1];
}

void pack_int8(int64_t row, int64_t n, const float* x, Int8Panel* panels) {
  for (int64_t begin = 0; begin < n; begin += Int8Chunk::kChannels) {
    const int64_t count = std::min(Int8Chunk::kChannels, n - begin);
    alignas(64) Int8Chunk chunk;
    quantize_int8_channels(x + begin, 0, count, &chunk);
    for (int64_t i = 0; i < count; i += kPanelChannels) {
      copy_group(chunk, i, row % kPanelRows, panels[(begin + i) / kPanelChannels]);
    }
  }
}

void pack_bf16(int64_t row, int64_t n, const float* x, BF16Panel* panels) {
  for (int64_t begin = 0; begin < n; begin += kPanelChannels) {
    const int64_t count = std::min(kPanelChannels, n - begin);
    uint32_t pairs[kPanelChannels / 2] = {};
    round_to_bf16(x + begin, count, reinterpret_cast<uint16_t*>(pairs));
    BF16Panel& panel = panels[begin / kPanelChannels];
    for (int64_t q = 0; q < kPanelChannels / 2; ++q) {
      std::memcpy(panel.values[q][row % kPanelRows], pairs + q, sizeof(uint32_t));
    }
  }
}

void pack_f32(int64_t row, int64_t n, const float* x, F32Panel* panels) {
  for (int64_t i = 0; i < n; ++i) {
    panels[i / kPanelChannels].values[i % kPanelChannels][row % kPanelRows] = x[i];
  }
}

}  // namespace

RowForm row_form(const WeightView& w, int64_t m) {
  const Features& features = current_features();
  if (is_block_format(w.format)) {
    if (m <= kFewRows) return RowForm::kInt8Rows;
    if (features.amx) return RowForm::kBF16Panels;
    return features.avx512_vnni ? RowForm::kInt8Panels : RowForm::kF32Panels;
  }
  const bool fp8 = w.format == DType::kF8E4M3;
  const bool bf16 = m <= kFewRows ? features.avx512_bf16 : features.fast_bf16;
  if (!bf16 || (w.format != DType::kBF16 && !fp8)) {
    if (m <= kFewRows) return RowForm::kFloat32;
    const bool by_matmul = w.format == DType::kF32 || w.format == DType::kBF16;
    return by_matmul ? RowForm::kMatmul : RowForm::kF32Panels;
  }
  if (m > kManyRows && !fp8 && !features.amx) return RowForm::kMatmul;
  if (m > kFewRows) return RowForm::kBF16Panels;
  // One row of float32 times BF16 weights goes at the speed of memory already.
  if (!fp8 && m == 1) return RowForm::kFloat32;
  // avx512_vnni stands for the instruction set's later additions, VBMI among them.
  const bool fits = features.avx512_vnni && (!fp8 || w.block_cols % 64 == 0);
  return fits ? RowForm::kBF16Rows : RowForm::kFloat32;
}

size_t packed_bytes(RowForm form, int64_t m, int64_t cols) {
  switch (form) {
    case RowForm::kFloat32:
    case RowForm::kMatmul:
      return 0;
    case RowForm::kInt8Rows:
      return static_cast<size_t>(m * int8_chunks(cols)) * sizeof(Int8Chunk);
    case RowForm::kBF16Rows:
      return static_cast<size_t>(m * bf16_row_stride(cols)) * sizeof(uint16_t);
    case RowForm::kInt8Panels:
      return static_cast<size_t>(panel_rows(m) * panel_channels(cols)) * sizeof(Int8Panel);
    case RowForm::kBF16Panels:
      return static_cast<size_t>(panel_rows(m) * panel_channels(cols)) * sizeof(BF16Panel);
    case RowForm::kF32Panels:
      return static_cast<size_t>(panel_rows(m) * panel_channels(cols)) * sizeof(F32Panel);
  }
  return 0;
}

void clear_padding(RowForm form, int64_t m, int64_t cols, void* packed) {
  const size_t row_bytes = form == RowForm::kInt8Rows ? packed_bytes(form, 1, cols)
                                                      : packed_bytes(form, kPanelRows, cols);
  auto* bytes = static_cast<char*>(packed);
  const size_t all = packed_bytes(form, m, cols);
  if (form == RowForm::kInt8Rows) {
    if (cols % Int8Chunk::kChannels == 0) return;
    for (int64_t row = 0; row < m; ++row) {
      std::memset(bytes + (row + 1) * row_bytes - sizeof(Int8Chunk), 0, sizeof(Int8Chunk));
    }
  } else if (form == RowForm::kBF16Rows) {
    for (int64_t row = 0; row < m; ++row) {
      const int64_t stride = bf16_row_stride(cols);
      std::fill(static_cast<uint16_t*>(packed) + row * stride + cols,
                static_cast<uint16_t*>(packed) + (row + 1) * stride, uint16_t{0});
    }
  } else if (is_packed(form)) {
    if (m % kPanelRows != 0) std::memset(bytes + all - row_bytes, 0, row_bytes);
    if (form == RowForm::kBF16Panels && cols % kPanelChannels != 0) {
      for (int64_t p = 0; p < panel_rows(m); ++p) {
        std::memset(bytes + (p + 1) * row_bytes - sizeof(BF16Panel), 0, sizeof(BF16Panel));
      }
    }
  }
}

void pack_channels(RowForm form, int64_t cols, int64_t row, int64_t channel, int64_t n,
                   const float* x, void* packed) {
  if (form == RowForm::kInt8Rows) {
    quantize_int8_channels(x, channel, n,
                           static_cast<Int8Chunk*>(packed) + row * int8_chunks(cols));
    return;
  }
  if (form == RowForm::kBF16Rows) {
    round_to_bf16(x, n, static_cast<uint16_t*>(packed) + row * bf16_row_stride(cols) + channel);
  } else if (form == RowForm::kInt8Panels) {
    pack_int8(row, n, x, panels_of<Int8Panel>(packed, cols, row, channel));
  } else if (form == RowForm::kF32Panels) {
    pack_f32(row, n, x, panels_of<F32Panel>(packed, cols, row, channel));
  } else {
    pack_bf16(row, n, x, panels_of<BF16Panel>(packed, cols, row, channel));
  }
}

void copy_to_panels(int64_t cols, const Int8Chunk* from, int64_t row, void* packed) {
  auto* panels = panels_of<Int8Panel>(packed, cols, row, 0);
  for (int64_t i = 0; i < cols; i += kPanelChannels) {
    copy_group(from[i / Int8Chunk::kChannels], i % Int8Chunk::kChannels, row % kPanelRows,
               panels[i / kPanelChannels]);
  }
}

void gemm_nt_packed(RowForm form, int64_t m, const void* packed, const int32_t* rows,
                    const WeightView& w, float* c, int64_t ldc) {
  switch (form) {
    case RowForm::kFloat32:
    case RowForm::kMatmul:
      fail("rows of float32 are not packed");
    case RowForm::kInt8Rows:
      return gemm_nt_int8(m, {static_cast<const Int8Chunk*>(packed), rows}, w, c, ldc);
    case RowForm::kBF16Rows:
      return bf16_rows_product(m, static_cast<const uint16_t*>(packed), bf16_row_stride(w.cols),
                               rows, w, c, ldc);
    case RowForm::kInt8Panels:
      return int8_panel_product(m, static_cast<const Int8Panel*>(packed), w, c, ldc);
    case RowForm::kF32Panels:
      return f32_panel_product(m, static_cast<const F32Panel*>(packed), w, c, ldc);
    case RowForm::kBF16Panels:
      if (current_features().amx) {
        return amx_panel_product(m, static_cast<const BF16Panel*>(packed), w, c, ldc);
      }
      return bf16_panel_product(m, static_cast<const BF16Panel*>(packed), w, c, ldc);
  }
}

}  // namespace dsv3::kernels
