// Absorbed attention: queries are compared with the cached latents as they are, for all heads.
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/amx_tiles.h"
#include "kernels/scratch.h"
#include "ops/mla_parts.h"

namespace dsv3::ops {
namespace {

using kernels::kTileKeys;

// (query, head) pairs of a sequence that go over a tile of keys together, at most: their state and
// the tile stay in the second-level cache.
constexpr int64_t kBlockRows = 64;
// Channels of weighted sums that a thread merges at a time.
constexpr int64_t kMergedChannels = 128;

// Rows [begin, end) of one sequence's (query, head) pairs, query-major.
struct RowBlock {
  const MlaSequence* sequence;
  int64_t begin, end;
  int64_t splits;      // that its last query sees
  float* packed;       // queries of its groups
  float* parts;        // running softmax of each split
  int64_t first_task;  // of its splits

  int64_t rows() const { return end - begin; }
  int64_t groups() const { return (rows() + kLanes - 1) / kLanes; }
};

// The sizes of one computation.
struct Sizes {
  int64_t heads, width, rank;
  int64_t rank_padded;   // of the weighted sums: whole vectors
  int64_t width_padded;  // of staged latents
  int64_t group_words;   // of packed queries, in any arithmetic
  LatentLayout codes;    // of a cache of 8 bits

  explicit Sizes(const MlaShape& s)
      : heads(s.num_heads),
        width(s.cache_width()),
        rank(s.kv_lora_rank),
        rank_padded(round_up(rank, 64)),
        width_padded(round_up(width, 32)),
        codes(layout_of(s, DType::kI8)) {
    group_words = std::max(width_padded * kLanes, kernels::packed_words_i8(codes));
  }
  int64_t part_floats(const RowBlock& b) const {
    return Running::floats(b.groups() * kLanes, rank_padded);
  }
};

// Keys beyond the last that the block's last query sees are not read.
int64_t end_key(const Sizes& z, const RowBlock& b) {
  const MlaSequence& s = *b.sequence;
  return s.n_keys - s.n_queries + (b.end - 1) / z.heads + 1;
}

void pack_queries(const Sizes& z, Arithmetic arithmetic, const RowBlock& b, const float* latent_q,
                  float* packed) {
  const float* q = latent_q + (b.sequence->first_row * z.heads + b.begin) * z.width;
  for (int64_t g = 0; g < b.groups(); ++g) {
    const int64_t rows = std::min(kLanes, b.rows() - g * kLanes);
    const float* from = q + g * kLanes * z.width;
    float* to = packed + g * z.group_words;
    if (arithmetic == Arithmetic::kFloat32) {
      kernels::pack_rows_f32(from, z.width, 1, rows, z.width, to);
    } else if (arithmetic == Arithmetic::kBFloat16) {
      kernels::pack_rows_bf16(from, z.width, 1, rows, z.width, reinterpret_cast<uint32_t*>(to));
    } else {
      kernels::pack_rows_i8(z.codes, from, z.width, rows, reinterpret_cast<uint32_t*>(to));
    }
  }
}

// Which keys of a tile the rows of a group see; `seen` [kLanes] is memory.
kernels::TileMask tile_mask(const Sizes& z, const RowBlock& b, int64_t group, int64_t key,
                            int64_t n, int64_t* seen) {
  const MlaSequence& s = *b.sequence;
  kernels::TileMask mask;
  if (s.visible != nullptr) mask.visible = s.visible + key;
  const int64_t first = b.begin + group * kLanes;
  const auto sees = [&](int64_t row) { return s.n_keys - s.n_queries + row / z.heads + 1 - key; };
  if (sees(first) >= n) return mask;
  for (int64_t r = 0; r < kLanes; ++r) seen[r] = first + r < b.end ? sees(first + r) : n;
  mask.seen = seen;
  return mask;
}

void record(const Sizes& z, const RowBlock& b, int64_t group, int64_t key, int64_t n,
            const float* scores) {
  const MlaSequence& s = *b.sequence;
  for (int64_t r = 0; r < kLanes && group * kLanes + r < b.rows(); ++r) {
    const int64_t row = b.begin + group * kLanes + r, query = row / z.heads, head = row % z.heads;
    float* to = s.attentions + (head * s.n_queries + query) * s.n_keys + key;
    for (int64_t j = 0; j < n; ++j) to[j] = scores[j * kLanes + r];
  }
}

// Scaled scores of a group become softmax weights.
void softmax(const MlaShape& shape, const Sizes& z, const RowBlock& b, int64_t g, int64_t key,
             int64_t n, const Running& running, float* scores) {
  int64_t seen[kLanes];
  kernels::scale_and_mask(scores, n, shape.softmax_scale, tile_mask(z, b, g, key, n, seen));
  if (b.sequence->attentions != nullptr) record(z, b, g, key, n, scores);
  const int64_t row = g * kLanes;
  kernels::softmax_lanes(scores, n, running.maximum + row, running.sum + row,
                         running.correction + row);
}

// Keys [key, key + n) of a page against a block, in float32.
void tile_f32(const MlaShape& shape, const Sizes& z, const RowBlock& b, const float* packed,
              int64_t key, int64_t n, const Running& running) {
  static thread_local kernels::Scratch scratch;
  const MlaSequence& s = *b.sequence;
  const int64_t page = key / kPageTokens;
  float* scores = scratch.get(kTileKeys * (kLanes + z.width_padded) + kLanes);
  const auto* latents = static_cast<const float*>(s.pages[page]);
  const float* next = nullptr;
  int64_t stride = z.width;
  if (s.dtype != DType::kF32 || z.rank % kLanes != 0) {
    float* staged = scores + kTileKeys * kLanes;
    stride = z.width_padded;
    kernels::decode_latents(layout_of(shape, s.dtype), s.pages[page], n, staged, stride);
    latents = staged;
  } else if (page + 1 < static_cast<int64_t>(s.pages.size())) {
    next = static_cast<const float*>(s.pages[page + 1]);
  }
  for (int64_t g = 0; g < b.groups(); ++g) {
    kernels::scores_f32(latents, stride, n, z.width, packed + g * z.group_words, false, next,
                        scores);
    softmax(shape, z, b, g, key, n, running, scores);
    kernels::values_f32(scores, n, latents, stride, z.rank, running.correction + g * kLanes,
                        running.group_values(g * kLanes));
  }
}

// The same in bf16.
void tile_bf16(const MlaShape& shape, const Sizes& z, const RowBlock& b, const float* packed,
               int64_t key, int64_t n, const Running& running) {
  static thread_local kernels::Scratch scratch;
  const MlaSequence& s = *b.sequence;
  const int64_t page = key / kPageTokens, weights_words = kTileKeys / 2 * kLanes;
  const int64_t tile_floats = kTileKeys * kLanes;
  float* scores =
      scratch.get(b.groups() * (tile_floats + weights_words) + kTileKeys * z.width_padded / 2);
  auto* weights = reinterpret_cast<uint32_t*>(scores + b.groups() * tile_floats);
  const auto* latents = static_cast<const uint16_t*>(s.pages[page]);
  const uint16_t* next = nullptr;
  int64_t stride = z.width;
  if (s.dtype != DType::kBF16 || z.rank % 32 != 0 || z.width % 2 != 0) {
    auto* staged = reinterpret_cast<uint16_t*>(weights + b.groups() * weights_words);
    stride = z.width_padded;
    kernels::decode_latents_bf16(layout_of(shape, s.dtype), s.pages[page], n, staged, stride);
    for (int64_t j = 0; j < n; ++j)
      std::fill(staged + j * stride + z.width, staged + (j + 1) * stride, uint16_t{0});
    latents = staged;
  } else if (page + 1 < static_cast<int64_t>(s.pages.size())) {
    next = static_cast<const uint16_t*>(s.pages[page + 1]);
  }
  kernels::scores_bf16(b.groups(), latents, stride, n, round_up(z.width, 2),
                       reinterpret_cast<const uint32_t*>(packed), z.group_words, false, next,
                       scores);
  for (int64_t g = 0; g < b.groups(); ++g) {
    softmax(shape, z, b, g, key, n, running, scores + g * tile_floats);
    kernels::pack_weights_bf16(scores + g * tile_floats, n, weights + g * weights_words);
  }
  kernels::values_bf16(b.groups(), weights, weights_words, n, latents, stride, z.rank_padded,
                       running.correction, running.values);
}

// The same in 8 bits, for keys of up to kPagesI8 pages.
void tile_i8(const MlaShape& shape, const Sizes& z, const RowBlock& b, const float* packed,
             int64_t key, int64_t n, const Running& running) {
  static thread_local kernels::Scratch scratch;
  const MlaSequence& s = *b.sequence;
  const int64_t page = key / kPageTokens, pages = (n + kPageTokens - 1) / kPageTokens;
  constexpr int64_t kTileFloats = kernels::kPagesI8 * kTileKeys * kLanes;
  float* scores = scratch.get(b.groups() * kTileFloats);
  for (int64_t g = 0; g < b.groups(); ++g) {
    const auto* q = reinterpret_cast<const uint32_t*>(packed + g * z.group_words);
    float* group_scores = scores + g * kTileFloats;
    for (int64_t p = 0; p < pages; ++p) {
      const bool last = page + p + 1 >= static_cast<int64_t>(s.pages.size());
      kernels::scores_i8(z.codes, s.pages[page + p], std::min(kPageTokens, n - p * kPageTokens), q,
                         last ? nullptr : s.pages[page + p + 1],
                         group_scores + p * kTileKeys * kLanes);
    }
    softmax(shape, z, b, g, key, n, running, group_scores);
  }
  // Rows of a group are those of one query, whatever the batch, if the heads fill groups.
  kernels::values_i8(z.codes, s.pages.data() + page, b.groups(), scores, n, z.heads % kLanes == 0,
                     running.correction, running.values);
}

// The keys of one split against a row block, into `part`.
void absorbed_split(const MlaShape& shape, const Sizes& z, const RowBlock& b, const float* packed,
                    int64_t split, const Running& part) {
  const kernels::TileSession session;
  part.clear(b.groups() * kLanes);
  const Arithmetic how = arithmetic(shape, *b.sequence);
  const auto tile = how == Arithmetic::kFloat32    ? tile_f32
                    : how == Arithmetic::kBFloat16 ? tile_bf16
                                                   : tile_i8;
  const int64_t end = std::min(end_key(z, b), split_begin(split + 1));
  const int64_t tile_keys =
      how == Arithmetic::kInt8 ? kernels::kPagesI8 * kPageTokens : kPageTokens;
  for (int64_t key = split_begin(split); key < end; key += tile_keys)
    tile(shape, z, b, packed, key, std::min(tile_keys, end - key), part);
}

// Row r of the block is done: its recorded scores become softmax weights.
void finish_recorded(const Sizes& z, const RowBlock& b, int64_t r, float maximum, float sum) {
  const MlaSequence& s = *b.sequence;
  if (s.attentions == nullptr) return;
  const int64_t query = (b.begin + r) / z.heads, head = (b.begin + r) % z.heads;
  const int64_t end = end_key(z, b);
  float* row = s.attentions + (head * s.n_queries + query) * s.n_keys;
  finish_attentions(row, end, maximum, sum);
  std::fill(row + end, row + s.n_keys, 0.0f);
}

float* output_row(const Sizes& z, const RowBlock& b, int64_t r, float* latent_out) {
  return latent_out + (b.sequence->first_row * z.heads + b.begin + r) * z.rank;
}

// Merges the splits of a group in order, kMergedChannels from `begin` on, and finishes its rows.
void merge_splits(const Sizes& z, const RowBlock& b, int64_t group, int64_t begin,
                  float* latent_out) {
  alignas(64) float maximum[kLanes], sum[kLanes] = {};
  std::fill_n(maximum, kLanes, -std::numeric_limits<float>::infinity());
  const int64_t rows = b.groups() * kLanes, first = group * kLanes;
  const int64_t channels = std::min(kMergedChannels, z.rank_padded - begin);
  float* total = Running(b.parts, rows, z.rank_padded).group_values(first) + begin * kLanes;
  std::fill_n(total, channels * kLanes, 0.0f);
  for (int64_t i = 0; i < b.splits; ++i) {
    const Running part(b.parts + (i + 1) * z.part_floats(b), rows, z.rank_padded);
    kernels::merge_lanes(part.maximum + first, part.sum + first,
                         part.group_values(first) + begin * kLanes, channels, maximum, sum, total);
  }
  for (int64_t r = first; r < std::min(b.rows(), first + kLanes); ++r) {
    Running::finish_row(total, r - first, sum[r - first], std::min(channels, z.rank - begin),
                        output_row(z, b, r, latent_out) + begin);
    if (begin == 0) finish_recorded(z, b, r, maximum[r - first], sum[r - first]);
  }
}

// All splits of a block, one after the other.
void whole_block(const MlaShape& shape, const Sizes& z, const RowBlock& b, const float* latent_q,
                 float* latent_out) {
  static thread_local kernels::Scratch scratch;
  const int64_t part_floats = z.part_floats(b), rows = b.groups() * kLanes;
  float* memory = scratch.get(2 * part_floats + b.groups() * z.group_words);
  float* packed = memory + 2 * part_floats;
  pack_queries(z, arithmetic(shape, *b.sequence), b, latent_q, packed);
  const Running total(memory, rows, z.rank_padded), part(memory + part_floats, rows, z.rank_padded);
  total.clear(rows);
  for (int64_t i = 0; i < b.splits; ++i) {
    absorbed_split(shape, z, b, packed, i, part);
    total.merge(rows, part);
  }
  for (int64_t r = 0; r < b.rows(); ++r) {
    total.finish(r, z.rank, output_row(z, b, r, latent_out));
    finish_recorded(z, b, r, total.maximum[r], total.sum[r]);
  }
}

// The splits of all blocks spread over the threads: for few queries and many keys.
void blocks_by_splits(const MlaShape& shape, const Sizes& z, std::vector<RowBlock>& blocks,
                      const float* latent_q, float* latent_out) {
  static thread_local kernels::Scratch scratch;
  int64_t floats = 0, tasks = 0;
  for (const RowBlock& b : blocks)
    floats += b.groups() * z.group_words + (b.splits + 1) * z.part_floats(b);
  float* memory = scratch.get(floats);
  for (RowBlock& b : blocks) {
    b.packed = memory;
    b.parts = b.packed + b.groups() * z.group_words;
    memory = b.parts + (b.splits + 1) * z.part_floats(b);
    b.first_task = tasks;
    tasks += b.splits;
  }
  const auto n_blocks = static_cast<int64_t>(blocks.size());
  thread_pool().parallel_for(n_blocks, [&](int64_t i) {
    pack_queries(z, arithmetic(shape, *blocks[i].sequence), blocks[i], latent_q, blocks[i].packed);
  });
  thread_pool().parallel_for(tasks, [&](int64_t i) {
    const RowBlock& b = *std::prev(std::upper_bound(
        blocks.begin(), blocks.end(), i,
        [](int64_t task, const RowBlock& block) { return task < block.first_task; }));
    const int64_t split = i - b.first_task;
    const Running part(b.parts + (split + 1) * z.part_floats(b), b.groups() * kLanes,
                       z.rank_padded);
    absorbed_split(shape, z, b, b.packed, split, part);
  });
  // Some channels of a group at a time: their sums are many for a long context.
  constexpr int64_t kGroups = kBlockRows / kLanes;
  const int64_t chunks = (z.rank_padded + kMergedChannels - 1) / kMergedChannels;
  thread_pool().parallel_for(n_blocks * kGroups * chunks, [&](int64_t i) {
    const RowBlock& b = blocks[i / (kGroups * chunks)];
    const int64_t group = i / chunks % kGroups;
    if (group < b.groups()) merge_splits(z, b, group, i % chunks * kMergedChannels, latent_out);
  });
}

void cut_into_blocks(const Sizes& z, std::span<const MlaSequence> sequences, int64_t block_rows,
                     std::vector<RowBlock>& blocks) {
  blocks.clear();
  for (const MlaSequence& s : sequences) {
    const int64_t rows = s.n_queries * z.heads;
    for (int64_t r = 0; r < rows; r += block_rows) {
      RowBlock& b = blocks.emplace_back(RowBlock{&s, r, std::min(rows, r + block_rows)});
      b.splits = split_count(end_key(z, b));
    }
  }
}

}  // namespace

void absorbed_attention(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                        std::span<const MlaSequence> sequences, Matrix out,
                        Matrix weighted_latents) {
  static thread_local kernels::Scratch scratch;
  static thread_local std::vector<std::pair<int64_t, int64_t>> row_ranges;
  static thread_local std::vector<RowBlock> blocks;
  const Sizes z(shape);
  const int64_t heads = z.heads, width = z.width, rank = z.rank;
  float* latent_q = scratch.get(q.rows * heads * (width + rank));
  float* latent_out =
      weighted_latents.data != nullptr ? weighted_latents.data : latent_q + q.rows * heads * width;

  // Neighbouring sequences share a pass over kv_b_proj.
  row_ranges.clear();
  for (const MlaSequence& s : sequences) {
    if (!row_ranges.empty() && row_ranges.back().second == s.first_row) {
      row_ranges.back().second += s.n_queries;
    } else {
      row_ranges.emplace_back(s.first_row, s.first_row + s.n_queries);
    }
  }
  const std::span<const std::pair<int64_t, int64_t>> ranges = row_ranges;

  // q_nope W_UK beside the rotated part: a query that is compared with cached rows as they are.
  thread_pool().parallel_for(heads, [&](int64_t h) {
    const HeadUpProjection head(shape, up, h);
    for (const auto& [begin, end] : ranges) {
      const float* head_q = q.row(begin) + h * shape.qk_head_dim();
      float* to = latent_q + (begin * heads + h) * width;
      head.absorb(end - begin, {head_q, q.stride}, to, heads * width);
      for (int64_t i = 0; i < end - begin; ++i) {
        std::copy_n(head_q + i * q.stride + shape.qk_nope_head_dim, shape.qk_rope_head_dim,
                    to + i * heads * width + rank);
      }
    }
  });

  cut_into_blocks(z, sequences, kBlockRows, blocks);
  const int64_t threads = thread_pool().size();
  const auto count = [&] { return static_cast<int64_t>(blocks.size()); };
  if (count() < 8 * threads) {
    int64_t tasks = 0;
    for (const RowBlock& b : blocks) tasks += b.splits;
    if (tasks < 4 * threads) cut_into_blocks(z, sequences, kLanes, blocks);
    blocks_by_splits(shape, z, blocks, latent_q, latent_out);
  } else {
    // The blocks with the most keys come last in a prompt, so they are started first.
    const std::span<const RowBlock> all = blocks;
    thread_pool().parallel_for(count(), [&](int64_t i) {
      whole_block(shape, z, all[all.size() - 1 - i], latent_q, latent_out);
    });
  }

  thread_pool().parallel_for(heads, [&](int64_t h) {
    const HeadUpProjection head(shape, up, h);
    for (const auto& [begin, end] : ranges) {
      head.values(end - begin, {latent_out + (begin * heads + h) * rank, heads * rank},
                  out.row(begin) + h * shape.v_head_dim, out.stride);
    }
  });
}

}  // namespace dsv3::ops
