#include "ops/experts.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/profile.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/scratch.h"
#include "ops/packed_rows.h"

namespace dsv3::ops {
namespace {

using kernels::RowForm;

// Rows of gate and up of one job, or of down of all jobs, that are a task: whole groups of channels
// of what is rounded for down. With few tokens the time goes into reading weights, and long
// stretches of memory are read fastest; but a thread should have several tasks. With very many
// tokens it goes into packing them, once for each task.
int64_t tile_rows(int64_t rows, int64_t most_tokens) {
  const int64_t for_all_threads = rows / (4 * thread_pool().size()) / 32 * 32;
  if (most_tokens > kernels::kManyRows) return std::clamp<int64_t>(for_all_threads, 32, 128);
  if (most_tokens > kernels::kFewRows) return 32;
  return std::clamp<int64_t>(for_all_threads, 32, 512);
}

// One network and the tokens that go through it.
struct Job {
  const MlpWeights* weights;
  std::span<const int32_t> tokens;       // rows of x
  std::span<const float> token_weights;  // empty: all 1
  PackedRows gate_in, up_in;             // x's rows as gate_proj and up_proj take them
  Matrix hidden;  // silu(gate(x)) * up(x), [tokens, intermediate]; absent if only down_in is kept
  PackedRows down_in;   // the same as down_proj takes it
  MlpActivations keep;  // where the products of gate_proj and up_proj go; absent: nowhere

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
};

// Output channels [begin, end) of a job.
struct Task {
  const Job* job;
  int64_t begin, end;
};

void gate_up(const Task& task) {
  static thread_local kernels::Scratch scratch;
  const Job& job = *task.job;
  const int64_t m = job.size(), width = task.end - task.begin;
  float* memory = scratch.get(2 * m * width);
  const bool keeps = job.keep.gate.data != nullptr;
  const Matrix gate = keeps ? job.keep.gate.columns(task.begin, width) : Matrix(memory, m, width);
  const Matrix up =
      keeps ? job.keep.up.columns(task.begin, width) : Matrix(memory + m * width, m, width);
  const MlpWeights& w = *job.weights;
  job.gate_in.multiply(w.gate_proj.view().slice_rows(task.begin, task.end), gate.data, gate.stride);
  job.up_in.multiply(w.up_proj.view().slice_rows(task.begin, task.end), up.data, up.stride);
  for (int64_t i = 0; i < m; ++i) {
    float* to = job.hidden.data != nullptr ? job.hidden.row(i) + task.begin : memory + i * width;
    kernels::swiglu(gate.row(i), up.row(i), width, to);
    if (kernels::is_packed(job.down_in.form())) job.down_in.store(i, task.begin, width, to);
  }
}

// y[token] += weight * out[i] for a job's tokens, `width` channels from `begin` on.
void add_to_tokens(const Job& job, const float* out, int64_t ld, int64_t begin, int64_t width,
                   Matrix y) {
  for (int64_t i = 0; i < job.size(); ++i) {
    const float weight = job.token_weights.empty() ? 1.0f : job.token_weights[i];
    kernels::axpy(weight, out + i * ld, width, y.row(job.tokens[i]) + begin);
  }
}

void down(std::span<const Job> jobs, int64_t begin, int64_t end, Matrix y) {
  static thread_local kernels::Scratch scratch;
  const int64_t width = end - begin;
  for (int64_t t = 0; t < y.rows; ++t) std::fill_n(y.row(t) + begin, width, 0.0f);
  for (const Job& job : jobs) {
    float* out = scratch.get(job.size() * width);
    job.down_in.multiply(job.weights->down_proj.view().slice_rows(begin, end), out, width);
    add_to_tokens(job, out, width, begin, width, y);
  }
}

// The same for few tokens: products of each job by themselves, in long stretches of memory, then
// the sums.
void down_of_few(std::span<const Job> jobs, Matrix y) {
  static thread_local kernels::Scratch scratch;
  static thread_local std::vector<Task> tasks;
  static thread_local std::vector<float*> outs;
  const int64_t cols = y.cols, n_jobs = static_cast<int64_t>(jobs.size());
  int64_t rows = 0;
  for (const Job& job : jobs) rows += job.size();
  float* out = scratch.get(rows * cols);
  const int64_t tile = tile_rows(n_jobs * cols, 1);
  tasks.clear();
  outs.clear();
  for (const Job& job : jobs) {
    for (int64_t c = 0; c < cols; c += tile) tasks.push_back({&job, c, std::min(cols, c + tile)});
    outs.push_back(out);
    out += job.size() * cols;
  }
  const std::span<const Task> all = tasks;
  const std::span<float* const> to = outs;
  thread_pool().parallel_for(static_cast<int64_t>(all.size()), [&](int64_t i) {
    const auto& [job, begin, end] = all[i];
    job->down_in.multiply(job->weights->down_proj.view().slice_rows(begin, end),
                          to[job - jobs.data()] + begin, cols);
  });
  constexpr int64_t kChannels = 512;
  thread_pool().parallel_for((cols + kChannels - 1) / kChannels, [&](int64_t part) {
    const int64_t begin = part * kChannels, width = std::min(cols - begin, kChannels);
    for (int64_t t = 0; t < y.rows; ++t) std::fill_n(y.row(t) + begin, width, 0.0f);
    for (int64_t j = 0; j < n_jobs; ++j)
      add_to_tokens(jobs[j], to[j] + begin, cols, begin, width, y);
  });
}

// Memory of one run, handed out piece by piece at multiples of 64 bytes: first counted, then given.
class Arena {
 public:
  void* take(size_t bytes) {
    void* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (bytes + 63) / 64 * 64;
    return at;
  }
  Matrix matrix(int64_t rows, int64_t cols) {
    return {static_cast<float*>(take(static_cast<size_t>(rows * cols) * sizeof(float))), rows,
            cols};
  }
  PackedRows packed(RowForm form, int64_t m, int64_t cols) {
    return {form, m, cols, take(kernels::packed_bytes(form, m, cols))};
  }
  void allocate(kernels::Scratch& scratch) {
    base_ = static_cast<char*>(scratch.get_bytes(used_));
    used_ = 0;
  }

 private:
  char* base_ = nullptr;
  size_t used_ = 0;
};

// The inputs of a layer's networks and their hidden activations.
class Inputs {
 public:
  Inputs(Matrix x, std::span<Job> jobs, Activations activations, bool keep_hidden)
      : x_(x), activations_(activations) {
    static thread_local kernels::Scratch scratch;
    Arena arena;
    lay_out(jobs, keep_hidden, arena);  // counts
    arena.allocate(scratch);
    lay_out(jobs, keep_hidden, arena);
    if (quantised_.data != nullptr) fake_quantize(x, activations, quantised_);
    fill(jobs);
  }

 private:
  void lay_out(std::span<Job> jobs, bool keep_hidden, Arena& arena) {
    quantised_ = {};
    int8_rows_ = bf16_rows_ = {};
    for (Job& job : jobs) {
      const MlpWeights& w = *job.weights;
      job.gate_in = input(job, w.gate_proj, arena);
      job.up_in = row_form(activations_, w.gate_proj, job.size()) ==
                              row_form(activations_, w.up_proj, job.size()) &&
                          w.gate_proj.is_fp8() == w.up_proj.is_fp8()
                      ? job.gate_in
                      : input(job, w.up_proj, arena);
      const RowForm form = row_form(activations_, w.down_proj, job.size());
      const int64_t intermediate = w.intermediate_size();
      job.hidden = {};
      if (!kernels::is_packed(form) || keep_hidden)
        job.hidden = arena.matrix(job.size(), intermediate);
      job.down_in = kernels::is_packed(form) ? arena.packed(form, job.size(), intermediate)
                                             : PackedRows(form, job.hidden, job.size(), nullptr);
    }
  }

  // Rows that jobs share are made once: x itself, x rounded to FP8, and rows of 8-bit integers and
  // bfloat16. Panels are made for each job, those of 8-bit integers out of the rows.
  PackedRows input(const Job& job, const LinearWeight& w, Arena& arena) {
    const RowForm form = row_form(activations_, w, job.size());
    if (!kernels::is_packed(form)) {
      const bool fp8 = rounds_to_fp8(activations_) && w.is_fp8();
      if (fp8 && quantised_.rows == 0) quantised_ = arena.matrix(x_.rows, x_.cols);
      return {form, fp8 ? quantised_ : x_, job.size(), job.tokens.data()};
    }
    PackedRows* all = nullptr;
    if (form == RowForm::kBF16Rows) all = &bf16_rows_;
    if (form == RowForm::kInt8Rows || form == RowForm::kInt8Panels) all = &int8_rows_;
    if (all != nullptr && all->size() == 0) {
      const RowForm row_major = all == &bf16_rows_ ? RowForm::kBF16Rows : RowForm::kInt8Rows;
      *all = arena.packed(row_major, x_.rows, x_.cols);
    }
    if (kernels::is_row_major(form)) return all->choose(job.size(), job.tokens.data());
    return arena.packed(form, job.size(), x_.cols);
  }

  void fill(std::span<Job> jobs) const {
    for (const PackedRows* all : {&int8_rows_, &bf16_rows_}) {
      if (all->size() == 0) continue;
      all->clear_padding();
      thread_pool().parallel_for(x_.rows, [&](int64_t t) { all->store(t, 0, x_.cols, x_.row(t)); });
    }
    struct Part {
      const PackedRows* panels;
      const int32_t* tokens;
      int64_t begin, end;
    };
    std::vector<Part> parts;
    const auto add = [&](const PackedRows& panels, const int32_t* tokens) {
      if (!kernels::is_packed(panels.form()) || kernels::is_row_major(panels.form())) return;
      panels.clear_padding();
      for (int64_t i = 0; i < panels.size(); i += kernels::kPanelRows) {
        parts.push_back({&panels, tokens, i, std::min(panels.size(), i + kernels::kPanelRows)});
      }
    };
    for (const Job& job : jobs) {
      add(job.gate_in, job.tokens.data());
      if (!job.up_in.same_memory(job.gate_in)) add(job.up_in, job.tokens.data());
      if (kernels::is_packed(job.down_in.form())) job.down_in.clear_padding();
    }
    thread_pool().parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t p) {
      const auto& [panels, tokens, begin, end] = parts[p];
      for (int64_t i = begin; i < end; ++i) {
        if (panels->form() == RowForm::kInt8Panels) {
          panels->copy_row(i, int8_rows_, tokens[i]);
        } else {
          panels->store(i, 0, x_.cols, x_.row(tokens[i]));
        }
      }
    });
  }

  Matrix x_;
  Activations activations_;
  Matrix quantised_;      // x rounded to FP8 and back
  PackedRows int8_rows_;  // x as rows of 8-bit integers
  PackedRows bf16_rows_;  // and of bfloat16
};

void run_jobs(Matrix x, std::span<Job> jobs, Matrix y, Activations activations,
              const MlpObserver& observer) {
  const bool quantises_hidden = rounds_to_fp8(activations);
  const Inputs inputs(x, jobs, activations, static_cast<bool>(observer));
  std::vector<Task> tasks;
  int64_t most_tokens = 0, all_rows = 0;
  for (const Job& job : jobs) {
    most_tokens = std::max(most_tokens, job.size());
    all_rows += job.weights->intermediate_size();
  }
  for (const Job& job : jobs) {
    const int64_t intermediate = job.weights->intermediate_size();
    const int64_t tile = tile_rows(all_rows, most_tokens <= 8 ? most_tokens : job.size());
    for (int64_t r = 0; r < intermediate; r += tile) {
      tasks.push_back({&job, r, std::min(intermediate, r + tile)});
    }
  }
  // The largest first, so that no thread is left with one at the end.
  const auto size = [](const Task& t) { return t.job->size() * (t.end - t.begin); };
  std::stable_sort(tasks.begin(), tasks.end(),
                   [&](const Task& a, const Task& b) { return size(a) > size(b); });
  {
    const profile::Scope scope(profile::Op::kGateUp);
    thread_pool().parallel_for(static_cast<int64_t>(tasks.size()),
                               [&](int64_t i) { gate_up(tasks[i]); });
  }
  for (const Job& job : jobs) {
    if (observer) observer(*job.weights, job.tokens, job.hidden);
    if (quantises_hidden && job.weights->down_proj.is_fp8()) {
      fake_quantize(job.hidden, activations, job.hidden);
    }
  }
  const profile::Scope scope(profile::Op::kDown);
  if (most_tokens <= kernels::kFewRows) return down_of_few(jobs, y);
  const int64_t tile = tile_rows(y.cols, most_tokens);
  thread_pool().parallel_for((y.cols + tile - 1) / tile, [&](int64_t i) {
    down(jobs, i * tile, std::min(y.cols, (i + 1) * tile), y);
  });
}

std::vector<int32_t> all_tokens(int64_t n) {
  std::vector<int32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

}  // namespace

void mlp(Matrix x, const MlpWeights& w, Matrix y, Activations activations,
         const MlpObserver& observer, const MlpActivations* keep) {
  const std::vector<int32_t> tokens = all_tokens(x.rows);
  Job job{.weights = &w, .tokens = tokens};
  if (keep != nullptr) job.keep = *keep;
  run_jobs(x, std::span(&job, 1), y, activations, observer);
}

PairsByExpert sort_by_expert(const Routing& routing, int64_t num_experts_per_tok,
                             int64_t n_experts) {
  const size_t pairs = routing.experts.size();
  PairsByExpert sorted{std::vector<int64_t>(n_experts + 1), std::vector<int32_t>(pairs),
                       std::vector<float>(pairs), std::vector<int64_t>(pairs)};
  for (const int32_t e : routing.experts) ++sorted.first[e + 1];
  for (int64_t e = 0; e < n_experts; ++e) sorted.first[e + 1] += sorted.first[e];
  std::vector<int64_t> next(sorted.first.begin(), sorted.first.end() - 1);
  for (size_t p = 0; p < pairs; ++p) {
    const int64_t at = sorted.places[p] = next[routing.experts[p]]++;
    sorted.tokens[at] = static_cast<int32_t>(static_cast<int64_t>(p) / num_experts_per_tok);
    sorted.weights[at] = routing.weights[p];
  }
  return sorted;
}

void mixture_of_experts(Matrix x, const Routing& routing, int64_t num_experts_per_tok,
                        std::span<const MlpWeights> experts, const MlpWeights* shared, Matrix y,
                        Activations activations, const MlpObserver& observer,
                        const ExpertsActivations* keep) {
  const int64_t pairs = x.rows * num_experts_per_tok;
  if (static_cast<int64_t>(routing.experts.size()) != pairs) {
    fail("mixture_of_experts: {} choices for {} tokens of {} experts each", routing.experts.size(),
         x.rows, num_experts_per_tok);
  }
  const PairsByExpert sorted =
      sort_by_expert(routing, num_experts_per_tok, static_cast<int64_t>(experts.size()));
  std::vector<Job> jobs;
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t begin = sorted.first[e], end = sorted.first[e + 1];
    if (begin == end) continue;
    Job& job = jobs.emplace_back(
        Job{.weights = &experts[e],
            .tokens = std::span(sorted.tokens).subspan(begin, end - begin),
            .token_weights = std::span(sorted.weights).subspan(begin, end - begin)});
    if (keep != nullptr) {
      job.keep = {keep->routed.gate.row_range(begin, end), keep->routed.up.row_range(begin, end)};
    }
  }
  std::vector<int32_t> everyone;
  if (shared != nullptr) {
    everyone = all_tokens(x.rows);
    Job& job = jobs.emplace_back(Job{.weights = shared, .tokens = everyone});
    if (keep != nullptr) job.keep = keep->shared;
  }
  run_jobs(x, jobs, y, activations, observer);
}

}  // namespace dsv3::ops
