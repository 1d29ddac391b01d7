// The loops around the tiles, after Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication" (2008): what a tile reads is first packed into panels in the order of reading.
//
//   for a block of rows of A
//     for a block of k         the sums of a block are made in registers and added to C
//       pack A                 [tiles][steps][rows of the tile], to stay in the second-level cache
//       for a panel of B
//         pack it              [steps][two vectors], to stay in the first-level cache
//         for the tiles of A
//           C tile
//
// A panel of B is packed again for every block of A, which costs little beside the many tiles that
// use it, and never leaves the nearest caches.
#include "kernels/matmul/matmul.h"

#include <algorithm>

#include "kernels/matmul/matmul_kernels.h"
#include "kernels/scratch.h"

namespace dsv3::kernels {
namespace {

// Tiles whose A is packed together: with 14 rows and 256 steps each, half a megabyte.
constexpr int64_t kBlockTiles = 36;
// Tiles that read a panel from where it lies, rather than have it packed first.
constexpr int64_t kUnpackedUses = 1;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A panel, packed or as it lies in memory.
struct Panel {
  const float* data;
  int64_t step_words;
};

class Product {
 public:
  Product(const MatmulKernels& kernels, int64_t m, int64_t n, int64_t k, const PanelSource& a,
          const PanelSource& b, float* c, int64_t ldc)
      : kernels_(kernels), m_(m), n_(n), k_(k), a_(a), b_(b), c_(c), ldc_(ldc) {}

  void run(bool accumulate) {
    // Tiles of nearly the same number of rows: a rest of one or two would be slow.
    tiles_ = divide_up(m_, kernels_.tile_rows);
    panel_lanes_ = kMaxTileVectors * kernels_.lanes;
    const int64_t block_k = kernels_.block_steps * kernels_.step_k;
    // Likewise blocks of k, of whole vectors of the packing.
    const int64_t some_k = divide_up(divide_up(k_, divide_up(k_, block_k)), 32) * 32;
    const int64_t steps = divide_up(std::min(some_k, k_), kernels_.step_k);
    const int64_t block_tiles = std::min(tiles_, kBlockTiles);
    // Sizes in whole cache lines.
    const int64_t b_words = steps * panel_lanes_ + kPackSlack;
    const int64_t a_words = block_tiles * kernels_.tile_rows * steps + kPackSlack;
    static thread_local Scratch scratch;
    packed_b_ = scratch.get(b_words + a_words);
    packed_a_ = packed_b_ + b_words;
    for (int64_t t = 0; t < tiles_; t += block_tiles) {
      for (int64_t k = 0; k < k_; k += some_k) {
        block(t, std::min(tiles_, t + block_tiles), k, std::min(some_k, k_ - k),
              accumulate || k > 0);
      }
    }
  }

 private:
  int64_t row(int64_t tile) const { return tile * m_ / tiles_; }

  void block(int64_t begin, int64_t end, int64_t k, int64_t count, bool add) {
    const int64_t steps = divide_up(count, kernels_.step_k);
    const bool a_unpacked = kernels_.step_k == 1 && a_.is_float32_panel() &&
                            divide_up(n_, panel_lanes_) <= kUnpackedUses;
    for (int64_t t = begin; t < end && !a_unpacked; ++t) {
      const auto rows = static_cast<int>(row(t + 1) - row(t));
      kernels_.pack(a_, row(t), rows, k, count, rows, packed_a_ + (row(t) - row(begin)) * steps);
    }
    for (int64_t j = 0; j < n_; j += panel_lanes_) {
      const auto columns = static_cast<int>(std::min(panel_lanes_, n_ - j));
      const Panel b = panel_of_b(j, columns, k, count, end - begin);
      for (int64_t t = begin; t < end; ++t) {
        const Panel a = a_unpacked
                            ? in_memory(a_, row(t), k)
                            : Panel{packed_a_ + (row(t) - row(begin)) * steps, row(t + 1) - row(t)};
        tile(row(t), row(t + 1) - row(t), j, columns, steps, a, b, add);
      }
    }
  }

  static Panel in_memory(const PanelSource& x, int64_t lane, int64_t k) {
    return {static_cast<const float*>(x.matrix.data) + k * x.matrix.stride + lane, x.matrix.stride};
  }

  Panel panel_of_b(int64_t j, int columns, int64_t k, int64_t count, int64_t uses) const {
    if (kernels_.step_k == 1 && b_.is_float32_panel() && columns % kernels_.lanes == 0 &&
        uses <= kUnpackedUses) {
      return in_memory(b_, j, k);
    }
    const int64_t words = divide_up(columns, kernels_.lanes) * kernels_.lanes;
    kernels_.pack(b_, j, columns, k, count, words, packed_b_);
    return {packed_b_, words};
  }

  void tile(int64_t i, int64_t rows, int64_t j, int columns, int64_t steps, const Panel& a,
            const Panel& b, bool add) const {
    const int64_t vectors = divide_up(columns, kernels_.lanes);
    const MatmulKernels::Tile kernel = kernels_.tiles[vectors - 1][rows - 1];
    float* c = c_ + i * ldc_ + j;
    if (columns == vectors * kernels_.lanes) {
      kernel(steps, a.data, a.step_words, b.data, b.step_words, add, c, ldc_);
      return;
    }
    // Whole vectors of C to the side.
    alignas(64) float whole[kMaxTileRows * 32];
    const int64_t stride = vectors * kernels_.lanes;
    kernel(steps, a.data, a.step_words, b.data, b.step_words, false, whole, stride);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t q = 0; q < columns; ++q) {
        c[r * ldc_ + q] = (add ? c[r * ldc_ + q] : 0.0f) + whole[r * stride + q];
      }
    }
  }

  const MatmulKernels& kernels_;
  const int64_t m_, n_, k_;
  const PanelSource &a_, &b_;
  float* const c_;
  const int64_t ldc_;
  int64_t tiles_ = 0;
  int64_t panel_lanes_ = 0;
  float *packed_a_ = nullptr, *packed_b_ = nullptr;
};

}  // namespace

void matmul(MatmulPrecision precision, int64_t m, int64_t n, int64_t k, const MatmulOperand& a,
            const MatmulOperand& b, bool accumulate, float* c, int64_t ldc) {
  if (m <= 0 || n <= 0) return;
  if (k <= 0) {
    for (int64_t i = 0; i < m && !accumulate; ++i) std::fill_n(c + i * ldc, n, 0.0f);
    return;
  }
  const bool narrow = precision == MatmulPrecision::kBFloat16;
  const MatmulKernels* bf16 = narrow ? bf16_matmul_kernels() : nullptr;
  const bool round = narrow && bf16 == nullptr;
  const PanelSource rows{.matrix = a, .lanes_are_rows = !a.transposed, .round = round};
  const PanelSource columns{.matrix = b, .lanes_are_rows = b.transposed, .round = round};
  Product(bf16 != nullptr ? *bf16 : f32_matmul_kernels(), m, n, k, rows, columns, c, ldc)
      .run(accumulate);
}

}  // namespace dsv3::kernels
