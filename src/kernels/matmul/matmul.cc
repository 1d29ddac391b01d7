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

#include "kernels/amx_tiles.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/scratch.h"

namespace dsv3::kernels {
namespace {

// Tiles, and rows in them, whose A is packed together: with 256 steps two thirds of a megabyte.
constexpr int64_t kBlockTiles = 48;
constexpr int64_t kBlockRows = kBlockTiles * kMaxVectorTileRows;
// Panels of B that are packed together.
constexpr int64_t kGroupPanels = 4;
// Float32 panels are read from where they lie, rather than packed first, if so few tiles use one,
// or if so many floats hold all of their rows: near enough together for the caches.
constexpr int64_t kUnpackedUses = 1;
constexpr int64_t kUnpackedFloats = 1 << 15;
// Floats of a C that is not in the near caches.
constexpr int64_t kLargeC = 1 << 16;

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
    const int64_t steps = steps_of(std::min(some_k, k_));
    const int64_t block_tiles = std::min({tiles_, kBlockTiles, kBlockRows / kernels_.tile_rows});
    b_words_ = steps * panel_lanes_ + kPackSlack;
    const int64_t a_words = block_tiles * (kernels_.tile_rows * steps + kPackSlack);
    const TileSession session;
    static thread_local Scratch scratch;
    packed_b_ = scratch.get(kGroupPanels * b_words_ + a_words);
    packed_a_ = packed_b_ + kGroupPanels * b_words_;
    for (int64_t t = 0; t < tiles_; t += block_tiles) {
      for (int64_t k = 0; k < k_; k += some_k) {
        block(t, std::min(tiles_, t + block_tiles), k, std::min(some_k, k_ - k),
              accumulate || k > 0);
      }
    }
  }

 private:
  int64_t row(int64_t tile) const {
    return kernels_.amx ? std::min(m_, tile * kernels_.tile_rows) : tile * m_ / tiles_;
  }
  int64_t steps_of(int64_t count) const {
    const int64_t steps = divide_up(count, kernels_.step_k);
    return kernels_.amx ? divide_up(steps, 16) * 16 : steps;
  }

  // Tiles `begin` to `end`, the products of `count` k from `k` on.
  void block(int64_t begin, int64_t end, int64_t k, int64_t count, bool add) {
    const int64_t steps = steps_of(count);
    Panel a[kBlockTiles], b[kGroupPanels];
    int64_t lanes[kBlockTiles];
    const bool a_in_memory = is_in_memory(a_, count, divide_up(n_, panel_lanes_));
    for (int64_t t = begin; t < end; ++t) {
      lanes[t - begin] = row(t + 1) - row(t);
      a[t - begin] =
          a_in_memory ? in_memory(a_, row(t), k)
                      : Panel{packed_a_ + (row(t) - row(begin)) * steps + (t - begin) * kPackSlack,
                              kernels_.amx ? steps : lanes[t - begin]};
    }
    const MatmulKernels::Pack pack_a = kernels_.pack_a != nullptr ? kernels_.pack_a : kernels_.pack;
    if (!a_in_memory) pack(pack_a, a_, row(begin), end - begin, lanes, k, count, a);
    for (int64_t j = 0; j < n_; j += kGroupPanels * panel_lanes_) {
      const int64_t panels = panels_of_b(j, k, count, end - begin, b);
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t column = j + p * panel_lanes_;
        const auto columns = static_cast<int>(std::min(panel_lanes_, n_ - column));
        for (int64_t t = begin; t < end; ++t) {
          tile(row(t), lanes[t - begin], column, columns, steps, a[t - begin], b[p], add);
        }
      }
    }
  }

  // Whether panels are read from where they lie: that are hardly used, or lie close together.
  bool is_in_memory(const PanelSource& x, int64_t count, int64_t uses) const {
    return kernels_.step_k == 1 && x.is_float32_panel() &&
           (uses <= kUnpackedUses || count * x.matrix.stride <= kUnpackedFloats);
  }
  static Panel in_memory(const PanelSource& x, int64_t lane, int64_t k) {
    return {static_cast<const float*>(x.matrix.data) + k * x.matrix.stride + lane, x.matrix.stride};
  }

  // Some panels of B from column j on; returns how many.
  int64_t panels_of_b(int64_t j, int64_t k, int64_t count, int64_t uses, Panel* b) const {
    const int64_t panels = std::min(kGroupPanels, divide_up(n_ - j, panel_lanes_));
    int64_t lanes[kGroupPanels];
    for (int64_t p = 0; p < panels; ++p) {
      lanes[p] = std::min(panel_lanes_, n_ - j - p * panel_lanes_);
      b[p] = {packed_b_ + p * b_words_, divide_up(lanes[p], kernels_.lanes) * kernels_.lanes};
    }
    // A tile reads whole vectors, and there may be none at the end of memory.
    const int64_t whole =
        is_in_memory(b_, count, uses) ? panels - (lanes[panels - 1] % kernels_.lanes != 0) : 0;
    for (int64_t p = 0; p < whole; ++p) b[p] = in_memory(b_, j + p * panel_lanes_, k);
    pack(kernels_.pack, b_, j + whole * panel_lanes_, panels - whole, lanes + whole, k, count,
         b + whole);
    return panels;
  }

  // Packs panels side by side, into memory of ours. Where a row of memory is a part of each, a few
  // rows go at a time into all of them: reading whole rows is what the caches are good at.
  void pack(MatmulKernels::Pack pack_panel, const PanelSource& x, int64_t lane, int64_t panels,
            const int64_t* lanes, int64_t k, int64_t count, const Panel* to) const {
    const int64_t some = x.lanes_are_rows ? count : kPackedRowsAtATime;
    for (int64_t q = 0; q < count; q += some) {
      int64_t first = lane;
      const int64_t step = q / kernels_.step_k;
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t at = pack_panel == kernels_.pack_a ? step : step * to[p].step_words;
        pack_panel(x, first, static_cast<int>(lanes[p]), k + q, std::min(some, count - q),
                   to[p].step_words, const_cast<float*>(to[p].data) + at);
        first += lanes[p];
      }
    }
  }

  void tile(int64_t i, int64_t rows, int64_t j, int columns, int64_t steps, const Panel& a,
            const Panel& b, bool add) const {
    const int64_t vectors = divide_up(columns, kernels_.lanes);
    const MatmulKernels::Tile kernel = kernels_.tiles[vectors - 1][rows - 1];
    float* c = c_ + i * ldc_ + j;
    if (m_ * n_ > kLargeC) {
      for (int64_t r = 0; r < rows; ++r) {
        __builtin_prefetch(c + r * ldc_, 1);
        __builtin_prefetch(c + r * ldc_ + columns - 1, 1);
      }
    }
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
  int64_t b_words_ = 0;  // of a panel
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
  const PanelSource rows{.matrix = a, .lanes_are_rows = !a.transposed, .round = round, .depth = k};
  const PanelSource columns{
      .matrix = b, .lanes_are_rows = b.transposed, .round = round, .depth = k};
  Product(bf16 != nullptr ? *bf16 : f32_matmul_kernels(), m, n, k, rows, columns, c, ldc)
      .run(accumulate);
}

}  // namespace dsv3::kernels
