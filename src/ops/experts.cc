#include "ops/experts.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/scratch.h"

namespace dsv3::ops {
namespace {

// One network and the tokens that go through it.
struct Job {
  const MlpWeights* weights;
  std::span<const int32_t> tokens;       // rows of x
  std::span<const float> token_weights;  // empty: all 1
  int64_t first_hidden = 0;              // where its [tokens, intermediate] activations are
};

// A range of rows of gate and up of one job, or of down of all jobs.
constexpr int64_t kTileRows = 32;

struct GateUpTask {
  const Job* job;
  int64_t begin, end;
};

Matrix hidden_of(const Job& job, float* hidden) {
  return {hidden + job.first_hidden, static_cast<int64_t>(job.tokens.size()),
          job.weights->intermediate_size()};
}

// The input of the networks as it is, and as FP8 weights take it (the same if activations are not
// quantised).
struct Inputs {
  Matrix plain, quantised;
  kernels::ActivationRows rows_for(const LinearWeight& w, const Job& job) const {
    const Matrix& x = w.is_fp8() ? quantised : plain;
    return {x.data, x.stride, job.tokens.data()};
  }
};

void gate_up(const Inputs& x, const GateUpTask& task, Matrix hidden) {
  static thread_local kernels::Scratch scratch;
  const auto m = static_cast<int64_t>(task.job->tokens.size());
  const int64_t width = task.end - task.begin;
  float* gate = scratch.get(2 * m * width);
  float* up = gate + m * width;
  const MlpWeights& w = *task.job->weights;
  kernels::gemm_nt(m, x.rows_for(w.gate_proj, *task.job),
                   w.gate_proj.view().slice_rows(task.begin, task.end), gate, width);
  kernels::gemm_nt(m, x.rows_for(w.up_proj, *task.job),
                   w.up_proj.view().slice_rows(task.begin, task.end), up, width);
  for (int64_t i = 0; i < m; ++i) {
    kernels::swiglu(gate + i * width, up + i * width, width, hidden.row(i) + task.begin);
  }
}

void down(std::span<const Job> jobs, float* hidden, int64_t begin, int64_t end, Matrix y) {
  static thread_local kernels::Scratch scratch;
  const int64_t width = end - begin;
  for (int64_t t = 0; t < y.rows; ++t) std::fill_n(y.row(t) + begin, width, 0.0f);
  for (const Job& job : jobs) {
    const Matrix h = hidden_of(job, hidden);
    float* out = scratch.get(h.rows * width);
    kernels::gemm_nt(h.rows, {h.data, h.stride},
                     job.weights->down_proj.view().slice_rows(begin, end), out, width);
    for (int64_t i = 0; i < h.rows; ++i) {
      const float weight = job.token_weights.empty() ? 1.0f : job.token_weights[i];
      kernels::axpy(weight, out + i * width, width, y.row(job.tokens[i]) + begin);
    }
  }
}

void run_jobs(Matrix x, std::span<Job> jobs, Matrix y, Fp8Activations fp8,
              const MlpObserver& observer) {
  static thread_local kernels::Scratch hidden_scratch, quantised;
  int64_t hidden_size = 0;
  std::vector<GateUpTask> tasks;
  bool any_fp8 = false;
  for (Job& job : jobs) {
    job.first_hidden = hidden_size;
    const int64_t intermediate = job.weights->intermediate_size();
    hidden_size += static_cast<int64_t>(job.tokens.size()) * intermediate;
    any_fp8 |= job.weights->gate_proj.is_fp8() || job.weights->up_proj.is_fp8();
    for (int64_t r = 0; r < intermediate; r += kTileRows) {
      tasks.push_back({&job, r, std::min(intermediate, r + kTileRows)});
    }
  }
  float* hidden = hidden_scratch.get(hidden_size);
  Inputs inputs{x, x};
  if (fp8 != Fp8Activations::kNone && any_fp8) {
    inputs.quantised = Matrix(quantised.get(x.rows * x.cols), x.rows, x.cols);
    fake_quantize(x, fp8, inputs.quantised);
  }
  thread_pool().parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    gate_up(inputs, tasks[i], hidden_of(*tasks[i].job, hidden));
  });
  if (observer) {
    for (const Job& job : jobs) observer(*job.weights, job.tokens, hidden_of(job, hidden));
  }
  if (fp8 != Fp8Activations::kNone) {
    for (const Job& job : jobs) {
      const Matrix h = hidden_of(job, hidden);
      if (job.weights->down_proj.is_fp8()) fake_quantize(h, fp8, h);
    }
  }
  thread_pool().parallel_for((y.cols + kTileRows - 1) / kTileRows, [&](int64_t i) {
    down(jobs, hidden, i * kTileRows, std::min(y.cols, (i + 1) * kTileRows), y);
  });
}

std::vector<int32_t> all_tokens(int64_t n) {
  std::vector<int32_t> tokens(n);
  for (int64_t i = 0; i < n; ++i) tokens[i] = static_cast<int32_t>(i);
  return tokens;
}

}  // namespace

void mlp(Matrix x, const MlpWeights& w, Matrix y, Fp8Activations fp8, const MlpObserver& observer) {
  const std::vector<int32_t> tokens = all_tokens(x.rows);
  Job job{&w, tokens, {}};
  run_jobs(x, std::span(&job, 1), y, fp8, observer);
}

void mixture_of_experts(Matrix x, const Routing& routing, int64_t num_experts_per_tok,
                        std::span<const MlpWeights> experts, const MlpWeights* shared, Matrix y,
                        Fp8Activations fp8, const MlpObserver& observer) {
  const int64_t pairs = x.rows * num_experts_per_tok;
  if (static_cast<int64_t>(routing.experts.size()) != pairs) {
    fail("mixture_of_experts: {} choices for {} tokens of {} experts each", routing.experts.size(),
         x.rows, num_experts_per_tok);
  }
  // Counting sort of the (token, choice) pairs by expert.
  std::vector<int64_t> first(experts.size() + 1, 0);
  for (const int32_t e : routing.experts) ++first[e + 1];
  for (size_t e = 0; e < experts.size(); ++e) first[e + 1] += first[e];
  std::vector<int32_t> tokens(pairs);
  std::vector<float> weights(pairs);
  std::vector<int64_t> next(first.begin(), first.end() - 1);
  for (int64_t p = 0; p < pairs; ++p) {
    const int64_t at = next[routing.experts[p]]++;
    tokens[at] = static_cast<int32_t>(p / num_experts_per_tok);
    weights[at] = routing.weights[p];
  }

  std::vector<Job> jobs;
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t begin = first[e], count = first[e + 1] - begin;
    if (count == 0) continue;
    jobs.push_back({&experts[e], std::span(tokens).subspan(begin, count),
                    std::span(weights).subspan(begin, count)});
  }
  std::vector<int32_t> everyone;
  if (shared != nullptr) {
    everyone = all_tokens(x.rows);
    jobs.push_back({shared, everyone, {}});
  }
  run_jobs(x, jobs, y, fp8, observer);
}

}  // namespace dsv3::ops
